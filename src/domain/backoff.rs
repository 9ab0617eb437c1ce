//! How long a key rests after a failure.

use std::time::Duration;

/// The window of the first retry.
const BASE: Duration = Duration::from_secs(2);
/// The widest window: an outage that has ended is noticed within this time.
const CAP: Duration = Duration::from_secs(300);

/// Exponential backoff with full jitter: anywhere between nothing and a window that doubles with each attempt.
///
/// `attempt` is 1 for the first failure; `random` lies in `0.0..1.0`.
pub fn backoff(attempt: u32, random: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let window = BASE.saturating_mul(1 << doublings).min(CAP);
    window.mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_up_to_its_cap() {
        let windows = [1, 2, 3, 8, 9, 40, u32::MAX].map(|attempt| backoff(attempt, 1.0).as_secs());
        assert_eq!(windows, [2, 4, 8, 256, 300, 300, 300]);
    }

    #[test]
    fn the_whole_window_is_used() {
        assert_eq!(backoff(5, 0.0), Duration::ZERO);
        assert_eq!(backoff(5, 0.5), Duration::from_secs(16));
    }
}
