//! The demo as a newcomer runs it: it tells each step in words, and ends well.
//!
//! Its story is told from the service's log lines, so this is also the test that notices when one of them is reworded.

use std::process::Command;

#[test]
fn the_demo_tells_each_step_and_ends_well() {
    let demo = Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .args(["demo", "--seconds", "8", "--calendars", "3", "--seed", "2"])
        .output()
        .expect("the demo can be started");
    let story = String::from_utf8_lossy(&demo.stdout);
    assert!(demo.status.success(), "{story}{}", String::from_utf8_lossy(&demo.stderr));
    for told in
        ["  person ", "  webhook ", ", accepted", "  change ", "  decision ", "  bot ", " check ", "nothing else has"]
    {
        assert!(story.contains(told), "`{told}` is not told:\n{story}");
    }
    assert!(!story.contains("http"), "a link is told:\n{story}");
}
