//! `inlet connect --open` as a process: who may come in, what the page's requests answer, and what becomes of hostile ones.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pretend::{CATALOG, CLIENT_ID, CLIENT_SECRET, Fault, WAREHOUSE, Wrong};
use serde_json::{Value, json};

use crate::connect::traces;
use crate::process::inlet;
use crate::support::Room;
use crate::workspace::Customer;

/// A page that is served, and the way in.
struct Page {
    process: Child,
    host: String,
    token: String,
    cookie: String,
}

/// What a request answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The lines of a test; none but whole ones.
    fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    fn report(&self) -> Value {
        let lines = self.lines();
        lines.last().expect("a test says something")["report"].clone()
    }
}

fn open() -> Command {
    let mut command = inlet();
    command.args(["connect", "--open"]).stderr(Stdio::inherit());
    command
}

/// The command as a customer starts it.
fn line(customer: &Customer) -> Command {
    let mut command = open();
    command.args(["--wait", "0", "--settings"]).arg(customer.file());
    command
}

impl Page {
    fn of(customer: &Customer) -> Self {
        Self::served(&mut line(customer))
    }

    /// Starts the command, and comes in by the link. No program is found that would open a browser.
    fn served(command: &mut Command) -> Self {
        let nothing = Room::new();
        let mut process = command.env("PATH", nothing.path("")).spawn().expect("it starts");
        let mut link = String::new();
        BufReader::new(process.stdout.as_mut().expect("it is piped")).read_line(&mut link).expect("it says its link");
        let (host, token) = link.trim().strip_prefix("http://").and_then(|link| link.split_once("/#")).expect("a link");
        let mut page = Self { host: host.to_owned(), token: token.to_owned(), cookie: String::new(), process };
        let answer = page.asks("POST /session", &json!({"token": page.token}));
        let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        page.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        page
    }

    /// As the page asks.
    fn asks(&self, line: &str, body: &Value) -> Answer {
        read(self.begins(line, body))
    }

    /// Sends a request of the page; the answer is still to be read.
    fn begins(&self, line: &str, body: &Value) -> TcpStream {
        let origin = format!("http://{}", self.host);
        let own = [
            ("host", self.host.as_str()),
            ("origin", &origin),
            ("content-type", "application/json"),
            ("cookie", &self.cookie),
        ];
        self.begins_with(line, &own, &body.to_string())
    }

    fn asks_with(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        read(self.begins_with(line, headers, body))
    }

    fn begins_with(&self, line: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{line} HTTP/1.0\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(&self.host).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        stream
    }

    fn tests(&self, values: &Value) -> Answer {
        self.asks("POST /test", &json!({"values": values, "wake": false}))
    }

    /// As Ctrl-C does.
    fn interrupt(&self) {
        let id = self.process.id().to_string();
        let sent = Command::new("/bin/kill").args(["-INT", &id]).status().expect("a signal can be sent");
        assert!(sent.success());
    }

    /// Ends it; its exit code.
    fn ended(mut self) -> Option<i32> {
        self.interrupt();
        self.process.wait().expect("it ends").code()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn read(mut stream: TcpStream) -> Answer {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("an answer has a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn status<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("a report has steps");
    &steps.iter().find(|step| step["step"] == name).expect("the step is there")["status"]
}

fn failed(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().expect("a report has steps");
    let failed = steps.iter().filter(|step| step["status"] == "failed");
    failed.map(|step| step["step"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn nobody_comes_in_but_by_the_link_and_the_page() {
    let customer = Customer::new();
    let page = Page::of(&customer);
    let origin = format!("http://{}", page.host);
    let own = [
        ("host", page.host.as_str()),
        ("origin", &origin),
        ("content-type", "application/json"),
        ("cookie", &page.cookie),
    ];
    let body = json!({"values": {}}).to_string();
    let shown = page.asks_with("GET /", &own[..1], "");
    assert_eq!(shown.status, 200);
    assert!(
        shown.body.contains("Test Connection") && !shown.body.contains(&page.token),
        "the page tells nothing by itself"
    );
    for part in ["default-src 'none'", "frame-ancestors 'none'", "x-frame-options: DENY", "cache-control: no-store"] {
        assert!(shown.head.contains(part), "{part}: {}", shown.head);
    }
    let settings = page.asks_with("GET /settings", &own, "");
    assert_eq!(settings.status, 200, "{settings:?}");
    for (what, changed, expected) in [
        ("a name that leads here", ("host", "evil.example:80"), 421),
        ("another page", ("origin", "https://evil.example"), 403),
        ("another port's page", ("origin", "http://127.0.0.1:1"), 403),
        ("a form", ("content-type", "text/plain"), 415),
        ("another browser", ("cookie", "inlet_1=x"), 401),
    ] {
        let headers: Vec<_> = own.iter().map(|pair| if pair.0 == changed.0 { changed } else { *pair }).collect();
        for line in ["POST /test", "POST /save"] {
            let answer = page.asks_with(line, &headers, &body);
            assert_eq!(answer.status, expected, "{what}, {line}: {answer:?}");
        }
    }
    assert_eq!(page.asks("POST /session", &json!({"token": page.token})).status, 403, "the link opens once");
    assert_eq!(page.asks("POST /test", &json!({"values": 3})).status, 400);
    assert_eq!(page.asks("POST /test", &json!("x".repeat(70_000))).status, 413);
    assert_eq!(page.asks("GET /elsewhere", &json!({})).status, 404);
    assert!(customer.pretend.requests().is_empty(), "and none of it asked the workspace");
    assert_eq!(page.ended(), Some(0));
}

#[test]
fn a_test_is_told_step_by_step_and_says_no_secret() {
    let customer = Customer::new();
    let before = std::fs::read_to_string(customer.file()).unwrap();
    let page = Page::of(&customer);
    let settings = page.asks("GET /settings", &json!({})).json();
    assert_eq!(settings["fields"]["catalog"]["text"], CATALOG);
    assert_eq!(settings["fields"]["auth.client_secret"]["text"], "file:client-secret");

    let lines = page.tests(&json!({"auth.client_secret": CLIENT_SECRET}));
    assert!(!lines.body.contains(CLIENT_SECRET));
    let (lines, report) = (lines.lines(), lines.report());
    assert_eq!(report["status"], "passed", "{report:#}");
    let begun: Vec<_> = lines.iter().filter_map(|line| line["begins"].as_str()).collect();
    let done: Vec<_> = lines.iter().filter_map(|line| line["done"]["step"].as_str()).collect();
    let all: Vec<_> = report["steps"].as_array().unwrap().iter().filter_map(|step| step["step"].as_str()).collect();
    let outline: Vec<_> =
        settings["steps"].as_array().unwrap().iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!((&begun, &done, &outline), (&all, &all, &all));
    assert!(report["next"].as_array().unwrap().len() >= 5, "{report:#}");

    let wrong = page.tests(&json!({"auth.client_secret": "dose-of-truth-that-is-wrong"}));
    assert!(!wrong.body.contains("dose-of-truth"), "{wrong:?}");
    assert_eq!(failed(&wrong.report()), ["sign_in"]);
    let missing = page.tests(&json!({"catalog": "no_such_catalog"})).report();
    assert_eq!(failed(&missing), ["catalog"]);
    let step = missing["steps"].as_array().unwrap().iter().find(|step| step["step"] == "catalog").unwrap();
    assert_eq!(step["to_run"][0], json!({"language": "sql", "text": "CREATE CATALOG `no_such_catalog`"}));
    assert!(step["setup_step"]["url"].as_str().unwrap().starts_with("https://"), "{step:#}");
    assert_eq!(std::fs::read_to_string(customer.file()).unwrap(), before, "nothing is saved that nobody asked for");
    assert_eq!(page.ended(), Some(78), "the exit code is that of the last test");
}

#[test]
fn one_ctrl_c_waits_until_a_test_has_removed_what_it_made_and_a_second_does_not() {
    for (delay, is_twice) in [(1_500, false), (20_000, true)] {
        let customer = Customer::new();
        let before = traces(&customer);
        customer.pretend.fault(Fault::on("DELETE", "*", Wrong::Delay(delay)));
        let errors = customer.room.path("errors");
        let mut page = Page::served(line(&customer).stderr(File::create(&errors).unwrap()));
        let _nobody_reads = page.begins("POST /test", &json!({"values": {}, "wake": false}));
        let removes = || customer.pretend.requests().iter().any(|seen| seen.method == "DELETE");
        until("the test removes what it made", removes);
        let begun = now();
        match is_twice {
            true => {
                until("it ends", || {
                    page.interrupt();
                    page.process.try_wait().expect("it can be asked").is_some()
                });
                assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
            }
            false => {
                page.ended();
                assert_eq!(traces(&customer), before);
            }
        }
        assert_eq!(std::fs::read_to_string(&errors).unwrap(), "", "it ends without a word of its own");
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn settings_are_saved_when_somebody_asks() {
    let customer = Customer::new();
    let room = Room::new();
    let file = room.path("inlet.toml");
    std::fs::write(&file, "# ours\nallow_host = [\"127.0.0.1\"]\n").unwrap();
    let page = Page::served(open().arg("--settings").arg(&file));
    let values = json!({
        "workspace_url": customer.pretend.url(), "catalog": CATALOG, "http_path": WAREHOUSE, "port": "", "lake": customer.room.lake(),
        "auth.client_id": CLIENT_ID, "auth.client_secret": CLIENT_SECRET, "auth.token": null,
    });
    assert_eq!(page.tests(&values).report()["status"], "passed");
    let saved = page.asks("POST /save", &json!({"values": values, "secret": "file"}));
    assert_eq!(saved.status, 200, "{saved:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# ours\n") && text.contains("client_secret = \"file:inlet.client-secret\""), "{text}");
    assert!(!text.contains(CLIENT_SECRET) && !saved.body.contains(CLIENT_SECRET));
    let kept = page.tests(&json!({"auth.client_secret": ""})).report();
    assert_eq!(kept["status"], "passed", "a secret that is left empty is kept: {kept:#}");
}

#[test]
fn hostile_addresses_are_refused_before_anything_is_sent() {
    let customer = Customer::new();
    let text = std::fs::read_to_string(customer.file()).unwrap();
    std::fs::write(customer.file(), text.replace(r#"allow_host = ["127.0.0.1"]"#, "")).unwrap();
    let page = Page::of(&customer);
    for url in [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254",
        customer.pretend.url(),
        "https://127.0.0.1",
        "https://[::1]",
        "https://ann:pw-of-truth@adb-1.2.azuredatabricks.net",
        "https://adb-1.2.azuredatabricks.net@evil.example",
        "https://evil.example/adb-1.2.azuredatabricks.net",
        "http://adb-1.2.azuredatabricks.net",
        "https://accounts.azuredatabricks.net",
        "file:///etc/passwd",
    ] {
        let answer = page.tests(&json!({"workspace_url": url, "auth.client_secret": CLIENT_SECRET}));
        assert_eq!(failed(&answer.report()), ["settings"], "{url}: {answer:?}");
        assert!(!answer.body.contains("pw-of-truth") && !answer.body.contains(CLIENT_SECRET), "{answer:?}");
    }
    // The page has no field for it: only who writes the file lets a host in.
    let answer = page.tests(&json!({"allow_host": "127.0.0.1", "workspace_url": customer.pretend.url()}));
    assert_eq!(failed(&answer.report()), ["settings"], "{answer:?}");
    assert!(customer.pretend.requests().is_empty());
}

#[test]
fn a_workspace_that_leads_elsewhere_or_is_silent_is_told_within_seconds() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let customer = Customer::new();
    let place = format!("http://{}/", elsewhere.local_addr().unwrap());
    let page = Page::of(&customer);
    customer.pretend.fault(Fault::on("GET", "/oidc/*", Wrong::Redirect(place)).times(10));
    assert_eq!(failed(&page.tests(&json!({})).report()), ["host"]);
    assert!(customer.pretend.requests().iter().all(|seen| seen.method == "GET"), "nobody signed in");
    assert!(elsewhere.accept().is_err(), "and nobody followed");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = now();
    let place = format!("http://{}", silent.local_addr().unwrap());
    let values = json!({"workspace_url": place});
    let answers = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| page.tests(&values)));
        both.map(|one| one.join().expect("it answers"))
    });
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((taken.len(), refused[0].status), (1, 409), "one test at a time: {answers:?}");
    let report = taken[0].report();
    assert_eq!((failed(&report), status(&report, "sign_in")), (vec!["host".to_owned()], &json!("skipped")));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "what is bounded is time")]
fn now() -> Instant {
    Instant::now()
}
