//! Owners: which process evaluates a running trial, and whether it still lives.
//!
//! An owner is written `host:process id:process start:number`. The start tells a process from a later one with the same
//! id, the number tells several studies of one process apart. Of a process of another host (another container) nothing
//! can be asked, so every owner counts on in the file, its heartbeat. Whoever sees a count stand still for [`LEASE`] by
//! its own clock takes that owner for dead; no two clocks are compared, and none that can be set back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often an owner counts on.
pub(super) const BEAT: Duration = Duration::from_secs(10);
/// How long a count may stand still.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// A name for one opened study of this process.
pub(super) fn new_name() -> String {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let pid = std::process::id();
    let start = start_of(pid).unwrap_or_default();
    format!("{}:{pid}:{start}:{}", host(), OPENED.fetch_add(1, Ordering::Relaxed))
}

/// Remembers for a second who was alive, because asking the system is slow where there is no `/proc`, and for how long
/// the counts of the others have stood still.
#[derive(Default)]
pub(super) struct Census {
    alive: HashMap<String, Instant>,
    counts: HashMap<String, (Option<i64>, Instant)>,
}

impl Census {
    /// Whether the process with this name is known to have ended; `count` is its heartbeat.
    pub(super) fn is_dead(&mut self, owner: &str, count: Option<i64>, lease: Duration) -> bool {
        const FRESH: Duration = Duration::from_secs(1);
        if self.alive.get(owner).is_some_and(|asked| asked.elapsed() < FRESH) {
            return false;
        }
        let Some(dead) = has_ended(owner) else {
            let seen = self.counts.entry(owner.to_string()).or_insert((count, Instant::now()));
            if seen.0 != count {
                *seen = (count, Instant::now());
            }
            return seen.1.elapsed() >= lease;
        };
        if dead {
            self.alive.remove(owner);
        } else {
            self.alive.insert(owner.to_string(), Instant::now());
        }
        dead
    }
}

/// Whether a process of this host has ended; `None` for one that cannot be asked after.
fn has_ended(owner: &str) -> Option<bool> {
    let mut parts = owner.rsplitn(4, ':');
    let (_, start, pid, host_of) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let pid: u32 = pid.parse().ok()?;
    // An empty start: the system would not tell.
    (!start.is_empty() && host_of == host()).then(|| start_of(pid).as_deref() != Some(start))
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
        assert_eq!(has_ended(&me), Some(false));
        assert_ne!(me, new_name());

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let name = format!("{}:{}:{}:0", host(), child.id(), start_of(child.id()).unwrap());
        let mut census = Census::default();
        assert!(!census.is_dead(&name, None, Duration::ZERO));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Census::default().is_dead(&name, Some(1), LEASE));
    }

    #[test]
    fn the_same_number_at_another_time_is_another_process() {
        let pid = std::process::id();
        assert_eq!(has_ended(&format!("{}:{pid}:another-start:0", host())), Some(true));
        assert_eq!(has_ended(&format!("{}-elsewhere:{pid}:another-start:0", host())), None);
        assert_eq!(has_ended("nonsense"), None);
    }

    #[test]
    fn of_another_host_only_a_count_that_stands_still_tells() {
        let other = format!("{}-elsewhere:1:start:0", host());
        let lease = Duration::from_millis(30);
        let mut census = Census::default();
        assert!(!census.is_dead(&other, Some(1), lease));
        std::thread::sleep(lease);
        assert!(!census.is_dead(&other, Some(2), lease), "it counted on");
        std::thread::sleep(lease);
        assert!(census.is_dead(&other, Some(2), lease));
        assert!(!census.is_dead(&other, Some(3), lease), "it came back");
    }
}
