//! Why the API refuses a call, apart from faults: what the documents list, with their bodies where they print one.

/// A refusal that follows from the state of things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 404. Its body is \[U\].
    NotFound,
    /// 400 with the one body that the documents print \[C\].
    Ended,
    /// 400; what is wrong, in words of ours: the strings are \[U\].
    NotSchedulable(&'static str),
    /// 400, about one field of the request.
    Field(&'static str, String),
    /// 400 or 405 with a code of its own.
    Coded(u16, &'static str, &'static str),
    /// 507: no bot is free for a call that starts so soon \[C\].
    PoolEmpty,
}
