//! The platform's own way to open a link in a browser.

use std::process::{Command, Stdio};

/// Programs that do it; `open` means something else on other systems than macOS.
const OPENERS: &[&str] = if cfg!(target_os = "macos") { &["open"] } else { &["xdg-open", "wslview"] };

/// Opens a link; whether there is a program for that here.
pub(super) fn open(link: &str) -> bool {
    let mut openers = OPENERS.iter().filter_map(|opener| {
        let mut command = Command::new(opener);
        command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().ok()
    });
    let Some(mut child) = openers.next() else { return false };
    // Its end is waited for, so that it leaves no zombie; what it says of the browser is the browser's matter.
    std::thread::spawn(move || child.wait().is_ok());
    true
}
