//! What an expression may call, besides CEL's own functions, and how its evaluation is kept short.
//!
//! Names that begin with `@` cannot be written: the check puts them in.

use std::{
    cell::Cell,
    cmp::Ordering,
    sync::{Arc, LazyLock},
};

use cel::{
    Env, ExecutionError,
    common::{
        types::{CelBool, CelDouble, CelInt, CelNull, CelString, DYN_TYPE, NULL_TYPE, STRING_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use regex::Regex;

use super::value;

/// How many elements an evaluation may look at, all loops together.
const TICKS: u32 = 100_000;

thread_local! {
    static TICKS_LEFT: Cell<u32> = const { Cell::new(0) };
}

/// Runs an evaluation with all its ticks; `None` if they did not suffice.
pub(super) fn within_ticks<T>(evaluate: impl FnOnce() -> T) -> Option<T> {
    TICKS_LEFT.set(TICKS);
    let result = evaluate();
    (TICKS_LEFT.get() > 0).then_some(result)
}

/// Takes ticks for so many elements; whether there are any left.
pub(super) fn spend(elements: usize) -> bool {
    let left = TICKS_LEFT.get().saturating_sub(u32::try_from(elements).unwrap_or(u32::MAX));
    TICKS_LEFT.set(left);
    left > 0
}

/// A pattern that was compiled when the rule was parsed.
#[derive(Clone, Debug)]
pub(super) struct Pattern(pub(super) Regex);

static PATTERN: Type = PATTERN_TYPE;
const PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &PATTERN
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// CEL's standard library, what is empty where CEL has an error, and our own functions.
pub(super) static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    declare(&mut env).expect("each name and signature is declared once");
    Arc::new(env)
});

type Values<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Evaluated<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn declare(env: &mut Env) -> Result<(), cel::DeclarationError> {
    env.add_overload("@tick", "tick", vec![DYN_TYPE], tick)?;
    env.add_overload("@is_true", "is_true", vec![DYN_TYPE], is_true)?;
    env.add_overload("@matches", "matches_pattern", vec![STRING_TYPE, PATTERN_TYPE], |args| matches(&args))?;
    env.add_overload("@matches", "matches_missing", vec![NULL_TYPE, PATTERN_TYPE], no)?;
    env.add_overload("@<", "less", vec![DYN_TYPE, DYN_TYPE], |args| holds(&args, Ordering::is_lt))?;
    env.add_overload("@<=", "less_or_equal", vec![DYN_TYPE, DYN_TYPE], |args| holds(&args, Ordering::is_le))?;
    env.add_overload("@>", "greater", vec![DYN_TYPE, DYN_TYPE], |args| holds(&args, Ordering::is_gt))?;
    env.add_overload("@>=", "greater_or_equal", vec![DYN_TYPE, DYN_TYPE], |args| holds(&args, Ordering::is_ge))?;
    for name in ["contains", "startsWith", "endsWith"] {
        let (missing, of_missing) = (format!("{name}_of_missing"), format!("{name}_missing"));
        env.add_member_overload(name, &missing, NULL_TYPE, vec![DYN_TYPE], no)?;
        env.add_member_overload(name, &of_missing, STRING_TYPE, vec![NULL_TYPE], no)?;
    }
    env.add_member_overload("lowerAscii", "lower_ascii", STRING_TYPE, vec![], |args| lower_ascii(&args))?;
    env.add_member_overload("lowerAscii", "lower_ascii_missing", NULL_TYPE, vec![], nothing)?;
    env.add_member_overload("size", "size_of_missing", NULL_TYPE, vec![], zero)?;
    env.add_overload("size", "size_missing", vec![NULL_TYPE], zero)?;
    env.add_overload("int", "int_missing", vec![NULL_TYPE], zero)?;
    env.add_overload("double", "double_missing", vec![NULL_TYPE], |_| Ok(CowVal::owned(CelDouble::from(0.0))))?;
    env.add_overload("string", "string_missing", vec![NULL_TYPE], nothing)
}

fn tick<'b, 'v>(mut args: Values<'b, 'v>) -> Evaluated<'b, 'v> {
    if !spend(1) {
        return Err(ExecutionError::function_error("@tick", ""));
    }
    Ok(args.pop().unwrap_or_else(|| CowVal::owned(CelNull)))
}

fn is_true<'b, 'v>(mut args: Values<'b, 'v>) -> Evaluated<'b, 'v> {
    match args.pop() {
        Some(value) if value.downcast_ref::<CelBool>().is_some() => Ok(value),
        Some(value) if value::is_missing(&*value) => no(args),
        _ => Err(ExecutionError::function_error("@is_true", "")),
    }
}

fn matches<'b, 'v>(args: &Values<'b, 'v>) -> Evaluated<'b, 'v> {
    let text = args[0].downcast_ref::<CelString>().map_or("", CelString::inner);
    let is_match = args[1].downcast_ref::<Pattern>().is_some_and(|pattern| pattern.0.is_match(text));
    Ok(CowVal::owned(CelBool::from(is_match)))
}

fn holds<'b, 'v>(args: &Values<'b, 'v>, of: fn(Ordering) -> bool) -> Evaluated<'b, 'v> {
    let ordering = value::compare(&*args[0], &*args[1])?;
    Ok(CowVal::owned(CelBool::from(ordering.is_some_and(of))))
}

fn lower_ascii<'b, 'v>(args: &Values<'b, 'v>) -> Evaluated<'b, 'v> {
    let text = args[0].downcast_ref::<CelString>().map_or("", CelString::inner);
    Ok(CowVal::owned(CelString::from(text.to_ascii_lowercase())))
}

fn no<'b, 'v>(_: Values<'b, 'v>) -> Evaluated<'b, 'v> {
    Ok(CowVal::owned(CelBool::from(false)))
}

fn zero<'b, 'v>(_: Values<'b, 'v>) -> Evaluated<'b, 'v> {
    Ok(CowVal::owned(CelInt::from(0)))
}

fn nothing<'b, 'v>(_: Values<'b, 'v>) -> Evaluated<'b, 'v> {
    Ok(CowVal::owned(CelString::from("")))
}
