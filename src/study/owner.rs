//! Owners: which process evaluates a running trial, and whether it still lives.
//!
//! An owner is written `host:process id:process start:number`. The start tells a process from a later one with the same
//! id, the number tells several studies of one process apart. Of another host nothing is known, so its trials are
//! never taken over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A name for one opened study of this process.
pub(super) fn new_name() -> String {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let start = start_of(pid).unwrap_or_default();
    format!("{}:{pid}:{start}:{}", host(), OPENED.fetch_add(1, Ordering::Relaxed))
}

/// Remembers for a second who was alive, because asking the system is slow where there is no `/proc`.
#[derive(Default)]
pub(super) struct Census {
    alive: HashMap<String, Instant>,
}

impl Census {
    /// Whether the process with this name is known to have ended.
    pub(super) fn is_dead(&mut self, owner: &str) -> bool {
        const FRESH: Duration = Duration::from_secs(1);
        if self.alive.get(owner).is_some_and(|asked| asked.elapsed() < FRESH) {
            return false;
        }
        let dead = has_ended(owner);
        if dead {
            self.alive.remove(owner);
        } else {
            self.alive.insert(owner.to_string(), Instant::now());
        }
        dead
    }
}

fn has_ended(owner: &str) -> bool {
    let mut parts = owner.rsplitn(4, ':');
    let (Some(_), Some(start), Some(pid), Some(host_of)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // An empty start: the system would not tell.
    let comparable = !start.is_empty() && host_of == host();
    comparable && pid.parse().is_ok_and(|pid| start_of(pid).as_deref() != Some(start))
}

#[cfg(target_os = "linux")]
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string()
}

#[cfg(not(target_os = "linux"))]
fn host() -> String {
    output_of("hostname", &[]).unwrap_or_default()
}

/// When a living process started: the boot and the clock ticks since. `None`: there is no such process.
#[cfg(target_os = "linux")]
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold spaces and brackets itself.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie has ended; only its exit status waits for the parent.
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}-{}", boot.get(..8).unwrap_or_default(), fields.get(19)?))
}

#[cfg(not(target_os = "linux"))]
fn start_of(pid: u32) -> Option<String> {
    let start = output_of("ps", &["-o", "lstart=", "-p", &pid.to_string()])?;
    Some(start.replace([' ', ':'], "-")).filter(|start| !start.is_empty())
}

#[cfg(not(target_os = "linux"))]
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_ended_one_does_not() {
        let me = new_name();
        assert!(!has_ended(&me));
        assert_ne!(me, new_name());

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let name = format!("{}:{}:{}:0", host(), child.id(), start_of(child.id()).unwrap());
        let mut census = Census::default();
        assert!(!census.is_dead(&name));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Census::default().is_dead(&name));
    }

    #[test]
    fn the_same_number_at_another_time_is_another_process_and_other_hosts_are_unknown() {
        let pid = std::process::id();
        assert!(has_ended(&format!("{}:{pid}:another-start:0", host())));
        assert!(!has_ended(&format!("{}-elsewhere:{pid}:another-start:0", host())));
        assert!(!has_ended("nonsense"));
    }
}
