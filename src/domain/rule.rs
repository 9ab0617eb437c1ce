//! Which events get a bot: an expression in CEL, the Common Expression Language, over `event` and `calendar` (see `facts`).
//!
//! A rule that was parsed can decide: names, types, patterns and time zones are checked before there is an event, and the rule
//! is tried on made-up events of both providers. What is missing is empty, never an error. What can still fail is said by
//! `EvaluationError`, without what the event says: titles and addresses are private.
//!
//! An evaluation ends: the text is short, its tree shallow, and all its loops together go through so many elements at most.

mod check;
mod language;
mod source;
mod value;

use std::{fmt, sync::Arc};

use cel::{Context, ExecutionError, IdedExpr, Value, common::types::CelBool};

pub use self::source::RuleError;
use self::{
    check::pattern_name,
    language::{ENV, Pattern},
    source::Source,
    value::Lazy,
};
use super::facts::{Facts, samples};

/// An expression that says whether an event gets a bot. Cheap to clone.
#[derive(Clone)]
pub struct Rule(Arc<Parsed>);

struct Parsed {
    text: String,
    expr: IdedExpr,
    /// The functions, and the rule's own patterns.
    context: Context<'static, 'static>,
}

/// A name for an expression, to be used by itself or in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// How it is called.
    pub name: &'static str,
    /// What it stands for.
    pub expression: &'static str,
    /// The same in words.
    pub meaning: &'static str,
}

/// The presets there are.
pub const PRESETS: [Preset; 6] = [
    Preset { name: "all", expression: "true", meaning: "each event" },
    Preset { name: "none", expression: "false", meaning: "no event" },
    Preset {
        name: "external",
        expression: "event.external_count > 0",
        meaning: "somebody outside the calendar's domain is invited",
    },
    Preset {
        name: "internal",
        expression: "event.external_count == 0",
        meaning: "nobody outside the calendar's domain is invited",
    },
    Preset {
        name: "accepted",
        expression: "event.response == \"accepted\"",
        meaning: "the calendar's owner has accepted, or organizes",
    },
    Preset { name: "organizer", expression: "event.is_organizer", meaning: "the calendar's owner organizes" },
];

/// One of the conditions that a rule puts together with `&&`, `||` and `!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// As it is written.
    pub text: String,
    /// Whether it holds; `None` if that cannot be said.
    pub is_true: Option<bool>,
}

/// A rule could not decide on an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` cannot be decided: {problem}")]
pub struct EvaluationError {
    part: String,
    problem: String,
}

impl Rule {
    /// Parses an expression and tries it.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (expr, source) = Source::parse(text)?;
        let root = expr.id;
        let mut patterns = Vec::new();
        let expr = check::check(&source, expr, &mut patterns)?;
        let mut context = Context::with_env(ENV.clone());
        for (position, pattern) in patterns.into_iter().enumerate() {
            context.add_variable_as_val(pattern_name(position), Box::new(Pattern(pattern)));
        }
        let rule = Self(Arc::new(Parsed { text: text.to_owned(), expr, context }));
        for (event, calendar) in samples() {
            rule.wants(&Facts::of(&event, &calendar)).map_err(|error| source.error(root, error.to_string()))?;
        }
        Ok(rule)
    }

    /// The expression as it was configured.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether the event gets a bot.
    ///
    /// # Errors
    /// An operation does not fit the values it meets, or the loops go through too many elements.
    pub fn wants(&self, facts: &Facts) -> Result<bool, EvaluationError> {
        self.evaluate(&self.0.expr, facts).map_err(|problem| {
            let failed = self.parts(facts).into_iter().find(|part| part.is_true.is_none());
            EvaluationError { part: failed.map_or_else(|| self.0.text.clone(), |part| part.text), problem }
        })
    }

    /// The conditions that the rule puts together, and which of them hold.
    pub fn parts(&self, facts: &Facts) -> Vec<Part> {
        let mut leaves = Vec::new();
        source::leaves(&self.0.expr, &mut leaves);
        let mut texts = source::conditions(&self.0.text);
        if texts.len() != leaves.len() {
            (texts, leaves) = (vec![self.as_str()], vec![&self.0.expr]);
        }
        let part =
            |(text, leaf): (&str, &IdedExpr)| Part { text: text.to_owned(), is_true: self.evaluate(leaf, facts).ok() };
        texts.into_iter().zip(leaves).map(part).collect()
    }

    fn evaluate(&self, expr: &IdedExpr, facts: &Facts) -> Result<bool, String> {
        let mut scope = self.0.context.new_inner_scope();
        scope.add_variable_as_val("event", Box::new(Lazy::Event(facts)));
        scope.add_variable_as_val("calendar", Box::new(Lazy::Calendar(facts)));
        let evaluate = || {
            let value = Value::resolve_val(expr, &scope).map_err(|error| problem(&error))?;
            value
                .downcast_ref::<CelBool>()
                .map(|flag| *flag.inner())
                .ok_or_else(|| "it is not true or false".to_owned())
        };
        language::within_ticks(evaluate).unwrap_or_else(|| Err("its loops go through too many elements".to_owned()))
    }
}

/// What went wrong, without the values it went wrong with.
fn problem(error: &ExecutionError) -> String {
    match error {
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero".to_owned(),
        ExecutionError::Overflow(..) => "a number or a time becomes too large".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "a list has fewer elements".to_owned(),
        ExecutionError::FunctionError { function, .. } if function == "@is_true" => {
            "a value in it is neither true nor false".to_owned()
        }
        ExecutionError::FunctionError { function, .. } => format!("it gives a wrong {function}"),
        _ => "an operation in it does not fit the kind of value it meets".to_owned(),
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Rule {}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.0.text).finish()
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
