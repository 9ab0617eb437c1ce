//! What an expression means, found out before there is an event: each name is known, each operator has what it works on.
//!
//! The tree that comes out differs from the one that went in: names of presets are replaced by their expressions, patterns by
//! compiled ones, each round of a loop ticks, and what may be missing (`event.raw`, `calendar.metadata`) is compared and
//! tested in ways that know of nothing.

use cel::{
    Context, IdedExpr, Value,
    common::{
        ast::{CallExpr, ComprehensionExpr, Expr, ListExpr, LiteralValue, SelectExpr, operators},
        types::CelString,
    },
};
use regex::{Regex, RegexBuilder};

use super::{
    PRESETS,
    language::ENV,
    source::{RuleError, Source},
};
use crate::domain::{
    facts::{self, Fields, Kind},
    hint::did_you_mean,
};

/// How large a compiled pattern may be, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// What kind of value an expression has.
#[derive(Clone, Debug, PartialEq)]
enum Type {
    Bool,
    Int,
    Double,
    Text,
    Time,
    Length,
    Null,
    Event,
    Calendar,
    Person,
    Attendee,
    List(Box<Type>),
    /// Anything: JSON of somebody else's making.
    Dyn,
    /// The element of an empty list.
    Never,
}

/// What an expression is made into, and what kind of value it has.
type Checked = Result<(IdedExpr, Type), RuleError>;

pub(super) struct Check<'a> {
    source: &'a Source<'a>,
    /// The variables of the loops around.
    scope: Vec<(String, Type)>,
    patterns: &'a mut Vec<Regex>,
}

/// The name that the compiled pattern at a position has.
pub(super) fn pattern_name(position: usize) -> String {
    format!("@pattern{position}")
}

/// Checks a whole rule, which must be a condition. Its compiled patterns come behind those that are in `patterns` already.
pub(super) fn check(source: &Source, expr: IdedExpr, patterns: &mut Vec<Regex>) -> Result<IdedExpr, RuleError> {
    Check { source, scope: Vec::new(), patterns }.condition(expr)
}

impl Check<'_> {
    fn condition(&mut self, expr: IdedExpr) -> Result<IdedExpr, RuleError> {
        let id = expr.id;
        match self.expr(expr)? {
            (expr, Type::Bool | Type::Never) => Ok(expr),
            (expr, Type::Dyn) => Ok(call(id, "@is_true", vec![expr])),
            (_, other) => {
                Err(self.error(id, format!("this is {}, where something true or false is needed", other.describe())))
            }
        }
    }

    fn expr(&mut self, IdedExpr { id, expr }: IdedExpr) -> Checked {
        match expr {
            Expr::Literal(literal) => {
                let found = self.literal(id, &literal)?;
                Ok((IdedExpr { id, expr: Expr::Literal(literal) }, found))
            }
            Expr::Ident(name) => self.variable(id, name),
            Expr::Select(select) => self.field(id, select),
            Expr::List(list) => self.list(id, list),
            Expr::Call(CallExpr { func_name, target: None, args }) if is_operator(&func_name) => {
                self.operator(id, &func_name, args)
            }
            Expr::Call(call) => self.call(id, call),
            Expr::Comprehension(comprehension) => self.each(id, *comprehension),
            Expr::Map(_) | Expr::Struct(_) => Err(self.error(id, "`{…}` has no use here")),
            Expr::Unspecified => Err(self.error(id, "the expression cannot be parsed")),
        }
    }

    fn literal(&self, id: u64, literal: &LiteralValue) -> Result<Type, RuleError> {
        match literal {
            LiteralValue::Boolean(_) => Ok(Type::Bool),
            LiteralValue::Double(_) => Ok(Type::Double),
            LiteralValue::Int(_) => Ok(Type::Int),
            LiteralValue::Null => Ok(Type::Null),
            LiteralValue::String(_) => Ok(Type::Text),
            LiteralValue::UInt(_) => Err(self.error(id, "numbers are written without `u`")),
            LiteralValue::Bytes(_) => Err(self.error(id, "text is written without `b`")),
        }
    }

    fn variable(&mut self, id: u64, name: String) -> Checked {
        let found = match name.as_str() {
            "event" => Type::Event,
            "calendar" => Type::Calendar,
            _ => match self.scope.iter().rev().find(|(variable, _)| *variable == name) {
                Some((_, found)) => found.clone(),
                None => return self.preset(id, &name),
            },
        };
        Ok((IdedExpr { id, expr: Expr::Ident(name) }, found))
    }

    fn preset(&mut self, id: u64, name: &str) -> Checked {
        let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
            if facts::EVENT.iter().any(|(field, _)| *field == name) {
                return Err(self.error(id, format!("there is no `{name}`: write `event.{name}`")));
            }
            let known = self.scope.iter().map(|(variable, _)| variable.as_str());
            let known = known.chain(["event", "calendar"]).chain(PRESETS.iter().map(|preset| preset.name));
            let hint = did_you_mean(name, known.filter(|known| !known.starts_with('@')));
            return Err(self.error(id, format!("there is no `{name}`{hint}")));
        };
        let (expr, source) = Source::parse(preset.expression)?;
        Ok((check(&source, expr, self.patterns)?, Type::Bool))
    }

    fn field(&mut self, id: u64, select: SelectExpr) -> Checked {
        let SelectExpr { operand, field, test } = select;
        let spelled = if let Expr::Ident(name) = &operand.expr { format!("{name}.{field}") } else { field.clone() };
        let (operand, of) = self.expr(*operand)?;
        let found = self.field_type(id, &of, &field)?;
        let select = SelectExpr { operand: Box::new(operand), field, test: false };
        let value = IdedExpr { id, expr: Expr::Select(select) };
        if !test {
            return Ok((value, found));
        }
        if of == Type::Dyn {
            let null = IdedExpr { id, expr: Expr::Literal(LiteralValue::Null) };
            return Ok((call(id, operators::NOT_EQUALS, vec![value, null]), Type::Bool));
        }
        let always = format!("`{spelled}` is always there");
        Err(self.error(
            id,
            match found {
                Type::Text => format!("{always}, and empty if missing: write {spelled} != \"\""),
                Type::List(_) => format!("{always}, and empty if missing: write {spelled}.size() > 0"),
                Type::Bool => format!("{always}: write {spelled} without has()"),
                Type::Dyn => format!("{always}: ask for a field of it, has({spelled}.name)"),
                _ => format!("{always}: leave out has()"),
            },
        ))
    }

    fn field_type(&self, id: u64, of: &Type, field: &str) -> Result<Type, RuleError> {
        let (thing, fields): (_, Fields) = match of {
            Type::Event => ("an event", facts::EVENT),
            Type::Calendar => ("a calendar", facts::CALENDAR),
            Type::Person => ("an organizer", facts::PERSON),
            Type::Attendee => ("an attendee", facts::ATTENDEE),
            Type::Dyn | Type::Never => return Ok(Type::Dyn),
            Type::List(_) => {
                let message =
                    format!("a list has no `{field}`, but each element may: write .exists(a, a.{field} == …)");
                return Err(self.error(id, message));
            }
            other => return Err(self.error(id, format!("{} has no fields", other.describe()))),
        };
        let Some((_, kind)) = fields.iter().find(|(name, _)| *name == field) else {
            let hint = did_you_mean(field, fields.iter().map(|(name, _)| *name));
            return Err(self.error(id, format!("{thing} has no `{field}`{hint}")));
        };
        Ok(match kind {
            Kind::Flag => Type::Bool,
            Kind::Number => Type::Int,
            Kind::Text => Type::Text,
            Kind::Time => Type::Time,
            Kind::Length => Type::Length,
            Kind::Person => Type::Person,
            Kind::Attendees => Type::List(Box::new(Type::Attendee)),
            Kind::Json => Type::Dyn,
        })
    }

    fn list(&mut self, id: u64, list: ListExpr) -> Checked {
        let mut element = Type::Never;
        let mut elements = Vec::with_capacity(list.elements.len());
        for expr in list.elements {
            let (expr, found) = self.expr(expr)?;
            element = element.join(found);
            elements.push(expr);
        }
        Ok((IdedExpr { id, expr: Expr::List(ListExpr::new(elements)) }, Type::List(Box::new(element))))
    }

    fn operator(&mut self, id: u64, operator: &str, args: Vec<IdedExpr>) -> Checked {
        use operators as op;
        if matches!(operator, op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE) {
            let args = args.into_iter().map(|arg| self.condition(arg)).collect::<Result<_, _>>()?;
            return Ok((call(id, operator, args), Type::Bool));
        }
        if operator == op::CONDITIONAL {
            let mut args = args.into_iter();
            let condition = self.condition(args.next().unwrap_or_default())?;
            let (yes, first) = self.expr(args.next().unwrap_or_default())?;
            let (no, second) = self.expr(args.next().unwrap_or_default())?;
            return Ok((call(id, operator, vec![condition, yes, no]), first.join(second)));
        }
        let (mut args, types): (Vec<_>, Vec<_>) =
            args.into_iter().map(|arg| self.expr(arg)).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let found = match types.as_slice() {
            [operand] => operand.negated(),
            [left, right] => match operator {
                op::EQUALS | op::NOT_EQUALS => left.is_comparable(right).then_some(Type::Bool),
                op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
                    left.is_ordered(right).then_some(Type::Bool)
                }
                op::IN => right.may_contain(left).then_some(Type::Bool),
                op::INDEX => right_index(left, right),
                op::ADD => left.plus(right),
                op::SUBSTRACT => left.minus(right),
                _ => left.times(right, operator),
            },
            _ => None,
        };
        let Some(found) = found else { return Err(self.error(id, misfit(operator, &types))) };
        let may_miss = types.iter().any(|found| matches!(found, Type::Dyn | Type::Never));
        // A list of JSON knows how to compare itself with CEL's, and not the other way round.
        if matches!(operator, op::EQUALS | op::NOT_EQUALS) && types.last() == Some(&Type::Dyn) {
            args.reverse();
        }
        let operator = match operator {
            op::LESS if may_miss => "@<",
            op::LESS_EQUALS if may_miss => "@<=",
            op::GREATER if may_miss => "@>",
            op::GREATER_EQUALS if may_miss => "@>=",
            other => other,
        };
        Ok((call(id, operator, args), found))
    }

    fn call(&mut self, id: u64, CallExpr { func_name: name, target, args }: CallExpr) -> Checked {
        let is_known = FUNCTIONS.iter().chain(METHODS).any(|signature| signature.0 == name) || name == "size";
        if !is_known {
            let macros = ["has", "all", "exists", "exists_one", "filter", "map"];
            if macros.contains(&name.as_str()) {
                return Err(self.error(id, format!("{name}() is not written like this: see the list of functions")));
            }
            let known = FUNCTIONS.iter().chain(METHODS).map(|signature| signature.0).chain(["size"]).chain(macros);
            return Err(self.error(id, format!("there is no {name}(){}", did_you_mean(&name, known))));
        }
        let target = target.map(|target| self.expr(*target)).transpose()?;
        let args: Vec<_> = args.into_iter().map(|arg| self.expr(arg)).collect::<Result<_, _>>()?;
        let types: Vec<&Type> = target.iter().chain(&args).map(|(_, found)| found).collect();
        let signatures = if target.is_some() { METHODS } else { FUNCTIONS };
        let fits = |(known, params, _): &&(&str, &[Type], Type)| {
            *known == name
                && params.len() == types.len()
                && params.iter().zip(&types).all(|(param, found)| found.fits(param))
        };
        let found = match types.as_slice() {
            [Type::Text | Type::List(_) | Type::Dyn | Type::Never] if name == "size" => Type::Int,
            _ => match signatures.iter().find(fits) {
                Some((_, _, found)) => found.clone(),
                None => return Err(self.error(id, no_such_call(&name, target.is_some(), &types))),
            },
        };
        let mut args: Vec<IdedExpr> = args.into_iter().map(|(arg, _)| arg).collect();
        let Some((target, _)) = target else {
            let checked = call(id, &name, args);
            self.check_literal(&checked, &name)?;
            return Ok((checked, found));
        };
        if name == "matches" {
            let pattern = self.pattern(&args.pop().unwrap_or_default())?;
            return Ok((call(id, "@matches", vec![target, pattern]), found));
        }
        if let [timezone] = args.as_slice()
            && name.starts_with("get")
        {
            self.check_timezone(timezone)?;
        }
        let call = CallExpr { func_name: name, target: Some(Box::new(target)), args };
        Ok((IdedExpr { id, expr: Expr::Call(call) }, found))
    }

    /// Compiles a pattern, once; `@matches` finds it under its name.
    fn pattern(&mut self, expr: &IdedExpr) -> Result<IdedExpr, RuleError> {
        let Some(text) = text_of(expr) else {
            return Err(self.error(expr.id, "a pattern must be written out, in quotation marks"));
        };
        let pattern = RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build().map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            self.error(expr.id, format!("this is no pattern: {reason}"))
        })?;
        self.patterns.push(pattern);
        Ok(IdedExpr { id: expr.id, expr: Expr::Ident(pattern_name(self.patterns.len() - 1)) })
    }

    /// `duration("…")` and `timestamp("…")`.
    fn check_literal(&self, checked: &IdedExpr, name: &str) -> Result<(), RuleError> {
        let Expr::Call(CallExpr { args, .. }) = &checked.expr else { return Ok(()) };
        let (Some(literal), "duration" | "timestamp") = (args.first().filter(|arg| text_of(arg).is_some()), name)
        else {
            return Ok(());
        };
        if Value::resolve_val(checked, &Context::with_env(ENV.clone())).is_ok() {
            return Ok(());
        }
        let example = if name == "duration" { "\"10m\" or \"1h30m\"" } else { "\"2026-01-31T09:00:00Z\"" };
        Err(self.error(literal.id, format!("this is no {name}: write it like {example}")))
    }

    fn check_timezone(&self, timezone: &IdedExpr) -> Result<(), RuleError> {
        let text = |text: &'static str| IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(text.into())) };
        let time = call(0, "timestamp", vec![text("2026-01-01T00:00:00Z")]);
        let hours =
            CallExpr { func_name: "getHours".into(), target: Some(Box::new(time)), args: vec![timezone.clone()] };
        let hours = IdedExpr { id: 0, expr: Expr::Call(hours) };
        if text_of(timezone).is_none() || Value::resolve_val(&hours, &Context::with_env(ENV.clone())).is_ok() {
            return Ok(());
        }
        Err(self.error(timezone.id, "there is no such time zone: write it like \"Europe/Berlin\" or \"+02:00\""))
    }

    /// `exists`, `all`, `filter` and the like, which the parser has made into a loop.
    fn each(&mut self, id: u64, each: ComprehensionExpr) -> Checked {
        let (iter_range, range) = self.expr(each.iter_range)?;
        let element = match range {
            Type::List(element) => *element,
            Type::Dyn | Type::Never => Type::Dyn,
            other => {
                return Err(self.error(id, format!("this goes through a list, and not through {}", other.describe())));
            }
        };
        let is_taken = ["event", "calendar"].contains(&each.iter_var.as_str())
            || PRESETS.iter().any(|preset| preset.name == each.iter_var);
        if is_taken {
            return Err(
                self.error(id, format!("`{}` means something else: give the element another name", each.iter_var))
            );
        }
        let (accu_init, accumulated) = self.expr(each.accu_init)?;
        let depth = self.scope.len();
        self.scope.push((each.accu_var.clone(), accumulated));
        self.scope.push((each.iter_var.clone(), element));
        let (mut loop_cond, _) = self.expr(each.loop_cond)?;
        let (mut loop_step, stepped) = self.expr(each.loop_step)?;
        self.scope.truncate(depth);
        self.scope.push((each.accu_var.clone(), stepped));
        let (result, found) = self.expr(each.result)?;
        self.scope.truncate(depth);
        tick(&mut loop_cond, &mut loop_step);
        let each = ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, ..each };
        Ok((IdedExpr { id, expr: Expr::Comprehension(Box::new(each)) }, found))
    }

    fn error(&self, id: u64, message: impl Into<String>) -> RuleError {
        self.source.error(id, message)
    }
}

/// Makes each round of a loop tick. A constant condition stays as it is, since CEL tells by it that a list may be appended to
/// in place; the round's own expression ticks instead.
fn tick(loop_cond: &mut IdedExpr, loop_step: &mut IdedExpr) {
    let ticking = match (&loop_cond.expr, &mut loop_step.expr) {
        (Expr::Literal(_), Expr::Call(step)) if step.func_name == operators::CONDITIONAL => step.args.first_mut(),
        (Expr::Literal(_), Expr::Call(step)) => match step.args.last_mut().map(|last| &mut last.expr) {
            Some(Expr::List(list)) => list.elements.first_mut(),
            _ => None,
        },
        _ => None,
    };
    let ticking = ticking.unwrap_or(loop_cond);
    *ticking = call(ticking.id, "@tick", vec![std::mem::take(ticking)]);
}

fn call(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }) }
}

fn text_of(expr: &IdedExpr) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(CelString::inner(text)),
        _ => None,
    }
}

fn is_operator(name: &str) -> bool {
    !name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && (name.contains('_') || name.starts_with('@'))
        && symbol(name).is_some()
}

fn symbol(operator: &str) -> Option<&'static str> {
    use operators as op;
    Some(match operator {
        op::LOGICAL_AND => "&&",
        op::LOGICAL_OR => "||",
        op::LOGICAL_NOT => "!",
        op::NOT_STRICTLY_FALSE => "",
        op::CONDITIONAL => "? :",
        op::EQUALS => "==",
        op::NOT_EQUALS => "!=",
        op::LESS => "<",
        op::LESS_EQUALS => "<=",
        op::GREATER => ">",
        op::GREATER_EQUALS => ">=",
        op::IN => "in",
        op::INDEX => "[ ]",
        op::ADD => "+",
        op::SUBSTRACT | op::NEGATE => "-",
        op::MULTIPLY => "*",
        op::DIVIDE => "/",
        op::MODULO => "%",
        _ => return None,
    })
}

fn misfit(operator: &str, types: &[Type]) -> String {
    let described: Vec<_> = types.iter().map(Type::describe).collect();
    if types.contains(&Type::Null) && !types.contains(&Type::Dyn) {
        return "this is never null: what is missing is empty, \"\" or 0 or false".to_owned();
    }
    format!("`{}` does not work with {}", symbol(operator).unwrap_or(operator), described.join(" and "))
}

fn no_such_call(name: &str, is_method: bool, types: &[&Type]) -> String {
    let mut described = types.iter().map(|found| found.describe());
    if is_method {
        let target = described.next().unwrap_or_default();
        return format!("{target} has no {name}({})", described.collect::<Vec<_>>().join(", "));
    }
    let is_a_method = METHODS.iter().any(|signature| signature.0 == name);
    let hint = if is_a_method { format!(": write ….{name}(…)") } else { String::new() };
    format!("there is no {name}({}){hint}", described.collect::<Vec<_>>().join(", "))
}

fn right_index(left: &Type, right: &Type) -> Option<Type> {
    match (left, right) {
        (Type::List(element), Type::Int | Type::Dyn) => Some((**element).clone()),
        (Type::Dyn | Type::Never, Type::Int | Type::Text | Type::Dyn) => Some(Type::Dyn),
        _ => None,
    }
}

/// A name, what it takes (the first is what it is called on), what it gives. `size` is not here, as it takes lists of anything.
type Signature = (&'static str, &'static [Type], Type);

const FUNCTIONS: &[Signature] = &[
    ("duration", &[Type::Text], Type::Length),
    ("timestamp", &[Type::Text], Type::Time),
    ("string", &[Type::Text], Type::Text),
    ("string", &[Type::Int], Type::Text),
    ("string", &[Type::Double], Type::Text),
    ("string", &[Type::Bool], Type::Text),
    ("string", &[Type::Time], Type::Text),
    ("string", &[Type::Length], Type::Text),
    ("int", &[Type::Int], Type::Int),
    ("int", &[Type::Double], Type::Int),
    ("int", &[Type::Text], Type::Int),
    ("int", &[Type::Time], Type::Int),
    ("double", &[Type::Double], Type::Double),
    ("double", &[Type::Int], Type::Double),
    ("double", &[Type::Text], Type::Double),
];

const METHODS: &[Signature] = &[
    ("contains", &[Type::Text, Type::Text], Type::Bool),
    ("startsWith", &[Type::Text, Type::Text], Type::Bool),
    ("endsWith", &[Type::Text, Type::Text], Type::Bool),
    ("matches", &[Type::Text, Type::Text], Type::Bool),
    ("lowerAscii", &[Type::Text], Type::Text),
    ("getFullYear", &[Type::Time], Type::Int),
    ("getFullYear", &[Type::Time, Type::Text], Type::Int),
    ("getMonth", &[Type::Time], Type::Int),
    ("getMonth", &[Type::Time, Type::Text], Type::Int),
    ("getDate", &[Type::Time], Type::Int),
    ("getDate", &[Type::Time, Type::Text], Type::Int),
    ("getDayOfMonth", &[Type::Time], Type::Int),
    ("getDayOfMonth", &[Type::Time, Type::Text], Type::Int),
    ("getDayOfWeek", &[Type::Time], Type::Int),
    ("getDayOfWeek", &[Type::Time, Type::Text], Type::Int),
    ("getDayOfYear", &[Type::Time], Type::Int),
    ("getDayOfYear", &[Type::Time, Type::Text], Type::Int),
    ("getHours", &[Type::Time], Type::Int),
    ("getHours", &[Type::Time, Type::Text], Type::Int),
    ("getHours", &[Type::Length], Type::Int),
    ("getMinutes", &[Type::Time], Type::Int),
    ("getMinutes", &[Type::Time, Type::Text], Type::Int),
    ("getMinutes", &[Type::Length], Type::Int),
    ("getSeconds", &[Type::Time], Type::Int),
    ("getSeconds", &[Type::Time, Type::Text], Type::Int),
    ("getSeconds", &[Type::Length], Type::Int),
];

impl Type {
    fn describe(&self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int | Self::Double => "a number",
            Self::Text => "text",
            Self::Time => "a time",
            Self::Length => "a duration",
            Self::Null => "null",
            Self::Event => "an event",
            Self::Calendar => "a calendar",
            Self::Person => "an organizer",
            Self::Attendee => "an attendee",
            Self::List(_) => "a list",
            Self::Dyn | Self::Never => "anything",
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Never)
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    fn fits(&self, param: &Self) -> bool {
        self.is_open() || self == param
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, other) | (other, Self::Never) => other,
            (Self::List(left), Self::List(right)) => Self::List(Box::new(left.join(*right))),
            (left, right) if left == right => left,
            _ => Self::Dyn,
        }
    }

    fn is_comparable(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left), Self::List(right)) => left.is_comparable(right),
            (Self::Event | Self::Calendar | Self::Person | Self::Attendee, _) => false,
            (left, right) => {
                left.is_open() || right.is_open() || left == right || (left.is_number() && right.is_number())
            }
        }
    }

    fn is_ordered(&self, other: &Self) -> bool {
        let has_order = |found: &Self| {
            found.is_open() || matches!(found, Self::Int | Self::Double | Self::Text | Self::Time | Self::Length)
        };
        has_order(self) && has_order(other) && self.is_comparable(other)
    }

    fn may_contain(&self, element: &Self) -> bool {
        match self {
            Self::List(of) => of.is_comparable(element),
            other => other.is_open(),
        }
    }

    fn negated(&self) -> Option<Self> {
        (self.is_number() || self.is_open()).then(|| self.clone())
    }

    fn plus(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::List(_), Self::List(_)) => Some(self.clone().join(other.clone())),
            (Self::Time, Self::Length) => Some(Self::Time),
            (Self::Int | Self::Double | Self::Text | Self::Length, _) if self == other => Some(self.clone()),
            _ => (self.is_open() || other.is_open()).then_some(Self::Dyn),
        }
    }

    fn minus(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Time, Self::Time) => Some(Self::Length),
            (Self::Time, Self::Length) => Some(Self::Time),
            (Self::Int | Self::Double | Self::Length, _) if self == other => Some(self.clone()),
            _ => (self.is_open() || other.is_open()).then_some(Self::Dyn),
        }
    }

    fn times(&self, other: &Self, operator: &str) -> Option<Self> {
        match self {
            Self::Double if operator == operators::MODULO => None,
            Self::Int | Self::Double if self == other => Some(self.clone()),
            _ => (self.is_open() || other.is_open()).then_some(Self::Dyn),
        }
    }
}
