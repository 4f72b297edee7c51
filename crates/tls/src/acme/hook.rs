//! DNS-01 by a command of the operator: `COMMAND set|clear _acme-challenge.NAME VALUE`.
//!
//! A command has a time limit; at its end it is killed with everything it started. What it says
//! goes into the log, and the end of that into the failure.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::failure::{AcmeError, clean};

/// How long a command may take.
const COMMAND_WAIT: Duration = Duration::from_secs(120);
/// How much of its output is kept; the rest is read and dropped.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// What is done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Set,
    Clear,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Clear => "clear",
        }
    }
}

/// Runs the command for one record.
pub(super) async fn run(
    command: &[Box<str>],
    action: Action,
    record: &str,
    value: &str,
) -> Result<(), AcmeError> {
    let (Some(program), action) = (command.first(), action.word()) else {
        return Err(AcmeError::local("the `dns` challenge has no command"));
    };
    let failed =
        |why: String| AcmeError::local(format!("the DNS hook `{program} {action} {record}` {why}"));
    let mut child = Command::new(program.as_ref())
        .args(command.iter().skip(1).map(AsRef::as_ref))
        .args([action, record, value])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it starts ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let group =
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let finished = tokio::time::timeout(COMMAND_WAIT, async {
        let (out, err, status) = tokio::join!(read(out), read(err), child.wait());
        (out, err, status)
    });
    let Ok((out, err, status)) = finished.await else {
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = child.wait().await;
        return Err(failed(format!(
            "did not end within {} s and was killed",
            COMMAND_WAIT.as_secs()
        )));
    };
    for (stream, text) in [("stdout", &out), ("stderr", &err)] {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            tracing::info!(hook = %program, action, record, stream, line = %clean(line), "the DNS hook says");
        }
    }
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let last = [&err, &out]
                .into_iter()
                .find_map(|text| text.lines().rfind(|line| !line.trim().is_empty()));
            let last = last.map(|line| format!(": {}", clean(line))).unwrap_or_default();
            Err(failed(format!("failed ({status}){last}")))
        }
        Err(error) => Err(failed(format!("cannot be waited for: {error}"))),
    }
}

/// Everything that a stream brings, up to a bound.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<Box<str>> {
        // What follows the script are $0, $1, …
        ["/bin/sh", "-c", script, "hook"].map(Box::from).into()
    }

    #[tokio::test]
    async fn arguments_and_exit_codes() {
        let ok = shell(r#"[ "$1 $2 $3" = "set _acme-challenge.a.example value" ]"#);
        run(&ok, Action::Set, "_acme-challenge.a.example", "value").await.unwrap();
        let failure =
            run(&ok, Action::Clear, "_acme-challenge.a.example", "value").await.unwrap_err();
        assert_eq!(
            failure.message,
            "the DNS hook `/bin/sh clear _acme-challenge.a.example` failed (exit status: 1)"
        );
        let failure =
            run(&shell("echo no such zone >&2; exit 3"), Action::Set, "r", "v").await.unwrap_err();
        assert_eq!(
            failure.message,
            "the DNS hook `/bin/sh set r` failed (exit status: 3): no such zone"
        );
        let failure = run(&["/does/not/exist".into()], Action::Set, "r", "v").await.unwrap_err();
        assert!(failure.message.contains("cannot be started: No such file"), "{failure}");
    }

    #[tokio::test]
    async fn much_output_is_bounded() {
        run(&shell("head -c 1000000 /dev/zero | tr '\\0' x"), Action::Set, "r", "v").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_killed() {
        // The clock stands still, and jumps as soon as there is nothing but to wait.
        let failure = run(&shell("sleep 1000 & wait"), Action::Set, "r", "v").await.unwrap_err();
        assert_eq!(
            failure.message,
            "the DNS hook `/bin/sh set r` did not end within 120 s and was killed"
        );
    }
}
