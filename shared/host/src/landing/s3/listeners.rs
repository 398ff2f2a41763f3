//! Who a bucket tells of new objects, by its notification configuration.

use aws_sdk_s3::operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput;
use aws_sdk_s3::types::{Event, NotificationConfigurationFilter, S3KeyFilter};

/// The queues, functions and topics that hear of every object that is put below a prefix, and EventBridge, which hears
/// of all.
pub(super) fn of(told: &GetBucketNotificationConfigurationOutput, prefix: &str) -> Vec<String> {
    let queues = told.queue_configurations().iter().map(|one| (one.queue_arn(), one.events(), one.filter()));
    let functions = told.lambda_function_configurations();
    let functions = functions.iter().map(|one| (one.lambda_function_arn(), one.events(), one.filter()));
    let topics = told.topic_configurations().iter().map(|one| (one.topic_arn(), one.events(), one.filter()));
    let hears = |events: &[Event]| events.iter().any(|event| event.as_str().starts_with("s3:ObjectCreated:"));
    let all = queues.chain(functions).chain(topics);
    let named = all.filter(|(_, events, filter)| hears(events) && covers(*filter, prefix)).map(|(arn, ..)| arn);
    named.chain(told.event_bridge_configuration().map(|_| "EventBridge")).map(str::to_owned).collect()
}

/// Whether a filter lets everything below a prefix pass. One by the end of the key is for who wrote it to judge.
fn covers(filter: Option<&NotificationConfigurationFilter>, prefix: &str) -> bool {
    let key = filter.and_then(NotificationConfigurationFilter::key);
    let rules = key.map(S3KeyFilter::filter_rules).unwrap_or_default();
    let is_of_prefixes = |name: &str| name.eq_ignore_ascii_case("prefix");
    let prefixes = rules.iter().filter(|rule| rule.name().is_some_and(|name| is_of_prefixes(name.as_str())));
    prefixes.filter_map(|rule| rule.value()).all(|begins| prefix.starts_with(begins))
}
