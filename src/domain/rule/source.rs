//! An expression as written: its tree, its places, and where it splits into conditions.

use std::{fmt, thread};

use cel::{
    IdedExpr, ParseError, ParseErrors,
    common::ast::{CallExpr, EntryExpr, Expr, SourceInfo},
};

use super::language::ENV;

/// The longest expression, in bytes.
const MAX_BYTES: usize = 8 * 1024;
/// How deep a tree may be. The evaluation recurses, on a stack of common size.
const MAX_DEPTH: usize = 48;
/// For the parser and for what it makes of the longest expression, before that is known to be too deep.
const PARSER_STACK_BYTES: usize = 128 << 20;

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RuleError {
    message: String,
    line: String,
    /// In characters before the place.
    column: usize,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  {}\n  {:column$}^", self.message, self.line, "", column = self.column)
    }
}

/// An expression's text, and where each node of its tree stands in it.
pub(super) struct Source<'t> {
    text: &'t str,
    places: SourceInfo,
}

impl<'t> Source<'t> {
    pub(super) fn parse(text: &'t str) -> Result<(IdedExpr, Self), RuleError> {
        let at_start = |message: &str| RuleError { message: message.into(), line: line(text, 1), column: 0 };
        if text.len() > MAX_BYTES {
            return Err(RuleError { line: String::new(), ..at_start("the expression is longer than 8 KiB") });
        }
        let parse = || {
            let parsed = ENV.parser().parse_with_source_info(text).map_err(|errors| syntax_error(text, &errors))?;
            if is_too_deep(&parsed.0, MAX_DEPTH) {
                return Err(at_start("the expression is nested too deeply, or has too many operators in a row"));
            }
            Ok(parsed)
        };
        let parsed = thread::scope(|scope| {
            let parser = thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn_scoped(scope, parse);
            parser.ok().and_then(|parser| parser.join().ok())
        });
        let (expr, places) = parsed.unwrap_or_else(|| Err(at_start("the expression cannot be parsed")))?;
        Ok((expr, Self { text, places }))
    }

    /// An error at a node.
    pub(super) fn error(&self, id: u64, message: impl Into<String>) -> RuleError {
        let offset = self.place(id);
        let before = self.text.get(..offset).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        RuleError {
            message: message.into(),
            line: line(self.text, before.matches('\n').count() + 1),
            column: before[line_start..].chars().count(),
        }
    }

    /// Where a node begins to be told from others: a field at its name instead of its dot, a call at its name instead of its
    /// parenthesis.
    fn place(&self, id: u64) -> usize {
        let offset = self.places.offset_for(id).map_or(0, |(start, _)| start as usize);
        let (before, after) = self.text.split_at_checked(offset).unwrap_or((self.text, ""));
        if let Some(field) = after.strip_prefix('.') {
            return self.text.len() - field.trim_start().len();
        }
        if after.starts_with('(') {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            return before.trim_end().trim_end_matches(is_name).len();
        }
        offset
    }
}

fn line(text: &str, number: usize) -> String {
    text.lines().nth(number.saturating_sub(1)).unwrap_or_default().to_owned()
}

fn is_too_deep(expr: &IdedExpr, most: usize) -> bool {
    let Some(most) = most.checked_sub(1) else { return true };
    let is_too_deep = |expr: &IdedExpr| is_too_deep(expr, most);
    match &expr.expr {
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).any(is_too_deep),
        Expr::Comprehension(each) => {
            [&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result]
                .into_iter()
                .any(is_too_deep)
        }
        Expr::List(list) => list.elements.iter().any(is_too_deep),
        Expr::Select(select) => is_too_deep(&select.operand),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => is_too_deep(&entry.key) || is_too_deep(&entry.value),
            EntryExpr::StructField(field) => is_too_deep(&field.value),
        }),
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => false,
    }
}

/// The first error of the parser, in other words than the grammar's.
fn syntax_error(text: &str, errors: &ParseErrors) -> RuleError {
    let is_syntax = |error: &&ParseError| error.msg.starts_with("Syntax error");
    let Some(error) = errors.errors.iter().find(is_syntax).or(errors.errors.first()) else {
        return RuleError { message: "the expression cannot be parsed".into(), line: line(text, 1), column: 0 };
    };
    if error.msg.contains("Recursion limit") {
        return RuleError { message: "the expression is nested too deeply".into(), line: line(text, 1), column: 0 };
    }
    let (number, column) = (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
    RuleError { message: syntax_message(&error.msg), line: line(text, number), column: column.saturating_sub(1) }
}

fn syntax_message(message: &str) -> String {
    let found =
        |lead: &str| message.split_once(lead).map(|(_, found)| found.split("' expecting").next().unwrap_or(found));
    if message.contains("at '<EOF>'") || message.contains("input '<EOF>'") {
        return match message.split_once("missing '").and_then(|(_, rest)| rest.split_once('\'')) {
            Some((token, _)) => format!("`{token}` is missing at the end"),
            None => "the expression ends too early".to_owned(),
        };
    }
    if let Some(found) = found("token recognition error at: '").or_else(|| found("input '")) {
        let found = found.strip_suffix('\'').unwrap_or(found).trim_end();
        let instead = match found {
            "=" => ": compare with `==`",
            "&" | "and" | "AND" => ": write `&&`",
            "|" | "or" | "OR" => ": write `||`",
            "not" | "NOT" => ": write `!`",
            _ if found.starts_with(['"', '\'']) => return "a quotation mark is not closed".to_owned(),
            _ => "",
        };
        return format!("`{found}` is not expected here{instead}");
    }
    message.strip_prefix("Syntax error: ").unwrap_or(message).to_owned()
}

/// The conditions that `&&`, `||` and `!` put together, as written, in the order of `leaves`.
pub(super) fn conditions(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    collect_conditions(text, &mut found);
    found
}

fn collect_conditions<'t>(text: &'t str, found: &mut Vec<&'t str>) {
    let text = text.trim();
    let top = top_level(text);
    let split = |operator: &str| {
        let places: Vec<usize> = top.iter().copied().filter(|at| text[*at..].starts_with(operator)).collect();
        let starts = std::iter::once(0).chain(places.iter().map(|at| at + 2));
        let ends = places.iter().copied().chain([text.len()]);
        starts.zip(ends).map(|(start, end)| &text[start..end]).collect::<Vec<_>>()
    };
    let has = |operators: &[char]| top.iter().any(|at| text[*at..].starts_with(operators));
    let operands = match () {
        () if has(&['?']) => vec![text],
        () if has(&['|']) => split("||"),
        () => split("&&"),
    };
    if operands.len() > 1 {
        operands.into_iter().for_each(|operand| collect_conditions(operand, found));
        return;
    }
    let bare = text.trim_start_matches(['!', ' ']);
    let is_unary = !top.iter().any(|at| {
        text[*at..].starts_with(['=', '<', '>', '+', '-', '*', '/', '%'])
            || text[*at..].starts_with("!=")
            || is_in(text, *at)
    });
    let is_wrapped = top_level(bare) == [0, bare.len().saturating_sub(1)] && bare.starts_with('(');
    match () {
        () if is_unary && is_wrapped && !has(&['?']) => collect_conditions(&bare[1..bare.len() - 1], found),
        () if is_unary => found.push(bare),
        () => found.push(text),
    }
}

fn is_in(text: &str, at: usize) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text[at..].strip_prefix("in").is_some_and(|rest| !rest.starts_with(is_letter)) && !text[..at].ends_with(is_letter)
}

/// Where the characters stand that are inside no quotation marks, and no parentheses but their own.
fn top_level(text: &str) -> Vec<usize> {
    let (mut depth, mut quote, mut is_escaped) = (0_usize, None, false);
    let mut found = Vec::new();
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(letter),
            (None, '(' | '[' | '{') => {
                if depth == 0 {
                    found.push(at);
                }
                depth += 1;
            }
            (None, ')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    found.push(at);
                }
            }
            (None, _) if depth == 0 => found.push(at),
            (None, _) => {}
        }
    }
    found
}

/// The conditions that `&&`, `||` and `!` put together.
pub(super) fn leaves<'e>(expr: &'e IdedExpr, found: &mut Vec<&'e IdedExpr>) {
    use cel::common::ast::operators::{LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR};
    match &expr.expr {
        Expr::Call(CallExpr { func_name, args, .. })
            if [LOGICAL_AND, LOGICAL_NOT, LOGICAL_OR].contains(&func_name.as_str()) =>
        {
            args.iter().for_each(|operand| leaves(operand, found));
        }
        _ => found.push(expr),
    }
}
