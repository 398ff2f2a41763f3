# Logs, and what somebody should look at.

resource "azurerm_log_analytics_workspace" "functions" {
  name                = "${var.name}-functions"
  resource_group_name = var.resource_group_name
  location            = var.location
  retention_in_days   = var.log_retention_days
  tags                = var.tags
}

resource "azurerm_application_insights" "functions" {
  name                = "${var.name}-functions"
  resource_group_name = var.resource_group_name
  location            = var.location
  workspace_id        = azurerm_log_analytics_workspace.functions.id
  application_type    = "web"
  tags                = var.tags
}

# The metric of a queue's length is an account's and hourly: the host says when it gives a message up.
resource "azurerm_monitor_scheduled_query_rules_alert_v2" "given_up" {
  name                 = "${var.name}-given-up"
  display_name         = "Inlet: a message was given up"
  description          = "A message went to a poison queue after five deliveries. The README of infra/azure says how to deliver it again."
  resource_group_name  = var.resource_group_name
  location             = var.location
  scopes               = [azurerm_application_insights.functions.id]
  severity             = 2
  evaluation_frequency = "PT5M"
  window_duration      = "PT5M"
  tags                 = var.tags

  criteria {
    query                   = "traces | where message has 'Moving message to queue' and message has '-poison'"
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
  }

  dynamic "action" {
    for_each = var.action_group_id == "" ? [] : [var.action_group_id]

    content {
      action_groups = [action.value]
    }
  }
}
