//! The people, companies and meetings of [`Life`](super::Life): invented, so that a newcomer can follow the story.

/// First names of calendar owners; there may be more owners than names.
const NAMES: [&str; 20] = [
    "Ada", "Bo", "Carmen", "Dev", "Edda", "Femi", "Greta", "Hugo", "Inés", "Jonas", "Kaia", "Liam", "Mina", "Noor",
    "Otto", "Petra", "Quinn", "Rosa", "Sami", "Tove",
];
const COMPANIES: [&str; 4] = ["larkspur", "tidewater", "quillon", "brightmoor"];
const TITLES: [&str; 16] = [
    "Weekly sync",
    "Design review",
    "Customer call",
    "Interview",
    "Planning",
    "One-to-one",
    "Demo for Tidewater",
    "Retrospective",
    "Budget",
    "Roadmap",
    "Incident review",
    "Kick-off",
    "Sales pipeline",
    "Onboarding",
    "Standup",
    "Contract terms",
];

/// The owner with this number: name and address.
pub(super) fn owner(number: usize) -> (String, String) {
    let name = NAMES[number % NAMES.len()];
    let round = number / NAMES.len();
    let suffix = if round == 0 { String::new() } else { (round + 1).to_string() };
    let company = COMPANIES[number % COMPANIES.len()];
    let mailbox: String = name.to_lowercase().chars().filter(char::is_ascii).collect();
    (format!("{name}{suffix}"), format!("{mailbox}{suffix}@{company}.test"))
}

/// Somebody from outside.
pub(super) fn guest(rng: &mut fastrand::Rng) -> String {
    format!("guest{}@elsewhere.test", rng.u8(1..100))
}

pub(super) fn title(rng: &mut fastrand::Rng) -> &'static str {
    TITLES[rng.usize(..TITLES.len())]
}

/// A plausible link of one of three platforms.
pub(super) fn link(rng: &mut fastrand::Rng) -> String {
    let mut letters = |length: usize| (0..length).map(|_| rng.lowercase()).collect::<String>();
    let meet = format!("{}-{}-{}", letters(3), letters(4), letters(3));
    let teams = letters(24);
    match rng.u8(..3) {
        0 => format!("https://meet.google.com/{meet}"),
        1 => format!("https://larkspur.zoom.us/j/{}", rng.u64(80_000_000_000..90_000_000_000)),
        _ => {
            format!("https://teams.microsoft.com/l/meetup-join/19%3ameeting_{teams}%40thread.v2/0")
        }
    }
}

/// The platform's name, for sentences.
pub(super) fn platform(link: &str) -> &'static str {
    if link.contains("zoom.us") {
        "Zoom"
    } else if link.contains("teams.") {
        "Teams"
    } else {
        "Meet"
    }
}
