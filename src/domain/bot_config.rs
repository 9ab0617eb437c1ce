//! `BOT_CONFIG`, whose strings may be templates over the same facts as a rule: `{"bot_name": "{{ event.title }} (notes)"}`.
//!
//! Templates are Jinja's (minijinja). What is missing is empty; a name that there is not is refused at the start. A template
//! gives text, so only what is text in the API can be one. Keys are never templates.

use std::{collections::BTreeSet, fmt, sync::Arc};

use chrono::SecondsFormat;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value as Filled, value::ValueKind};
use serde_json::{Map, Value};

use super::{
    facts::{self, Fact, Facts, Fields, Kind, samples},
    hint::did_you_mean,
};

/// How many steps one template may take.
const FUEL: u64 = 50_000;
/// The API's limit of `bot_name`, in characters.
const MAX_NAME_CHARS: usize = 100;

/// A `bot_config` to be filled in for each event. Cheap to clone.
#[derive(Clone)]
pub struct BotConfig(Arc<Parsed>);

struct Parsed {
    source: Map<String, Value>,
    /// Each template under its own text.
    templates: Environment<'static>,
    /// The fields that templates ask for.
    event_fields: BTreeSet<&'static str>,
    calendar_fields: BTreeSet<&'static str>,
}

/// A template is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct BotConfigError {
    path: String,
    problem: String,
}

/// A template could not be filled in for an event. Does not say what is in the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be filled in: {kind}")]
pub struct RenderError {
    path: String,
    kind: ErrorKind,
}

impl BotConfig {
    /// Compiles the templates and tries them on made-up events.
    ///
    /// # Errors
    /// The first template that is wrong, by the path of its field.
    pub fn parse(config: Map<String, Value>) -> Result<Self, BotConfigError> {
        let mut parsed = Parsed {
            source: Map::new(),
            templates: environment(),
            event_fields: BTreeSet::new(),
            calendar_fields: BTreeSet::new(),
        };
        each_template("", &Value::Object(config.clone()), &mut |path, text| {
            parsed.add(text).map_err(|problem| BotConfigError { path: path.to_owned(), problem })
        })?;
        let config = Self(Arc::new(Parsed { source: config, ..parsed }));
        for (event, calendar) in samples() {
            let tried = config.render(&Facts::of(&event, &calendar));
            tried.map_err(|error| BotConfigError {
                path: error.path,
                problem: format!("cannot be filled in for a made-up event: {}", error.kind),
            })?;
        }
        Ok(config)
    }

    /// The configuration for one event.
    ///
    /// # Errors
    /// A filter does not fit the value it meets, or a template takes too many steps.
    pub fn render(&self, facts: &Facts) -> Result<Map<String, Value>, RenderError> {
        if self.0.templates.templates().next().is_none() {
            return Ok(self.0.source.clone());
        }
        let variables = self.0.variables(facts);
        let mut config = Map::new();
        for (field, value) in &self.0.source {
            config.insert(field.clone(), self.0.fill(field, value, &variables)?);
        }
        if self.0.source.get("bot_name").and_then(Value::as_str).is_some_and(is_template) {
            fit_name(&mut config);
        }
        Ok(config)
    }

    /// As it was configured.
    pub fn source(&self) -> &Map<String, Value> {
        &self.0.source
    }
}

impl Parsed {
    fn add(&mut self, text: &str) -> Result<(), String> {
        self.templates.add_template_owned(text.to_owned(), text.to_owned()).map_err(|error| {
            format!("{}: write {{{{ event.title }}}}", error.detail().unwrap_or("this is no template"))
        })?;
        let template = self.templates.get_template(text).map_err(|error| error.to_string())?;
        for path in template.undeclared_variables(true) {
            let mut names = path.split('.');
            let root = names.next().unwrap_or_default();
            match root {
                "event" => self.event_fields.extend(used(root, facts::EVENT, names)?),
                "calendar" => self.calendar_fields.extend(used(root, facts::CALENDAR, names)?),
                _ if self.templates.globals().any(|(known, _)| known == root) => {}
                _ if facts::EVENT.iter().any(|(field, _)| *field == root) => {
                    return Err(format!("there is no `{root}`: write {{{{ event.{root} }}}}"));
                }
                _ => return Err(format!("there is no `{root}`{}", did_you_mean(root, ["event", "calendar"]))),
            }
        }
        Ok(())
    }

    fn variables(&self, facts: &Facts) -> Filled {
        let event =
            self.event_fields.iter().map(|field| (*field, facts.event(field).map_or(Filled::UNDEFINED, filled)));
        let calendar =
            self.calendar_fields.iter().map(|field| (*field, facts.calendar(field).map_or(Filled::UNDEFINED, filled)));
        let variables = [("event", object(event)), ("calendar", object(calendar))];
        object(variables.into_iter())
    }

    fn fill(&self, path: &str, value: &Value, variables: &Filled) -> Result<Value, RenderError> {
        Ok(match value {
            Value::String(text) if is_template(text) => {
                let rendered =
                    self.templates.get_template(text).and_then(|template| template.render(variables.clone()));
                let failed = |error: minijinja::Error| RenderError { path: path.to_owned(), kind: error.kind() };
                Value::String(rendered.map_err(failed)?)
            }
            Value::Array(elements) => {
                let fill = |(position, element)| self.fill(&format!("{path}[{position}]"), element, variables);
                Value::Array(elements.iter().enumerate().map(fill).collect::<Result<_, _>>()?)
            }
            Value::Object(object) => {
                let fill = |(key, value): (&String, &Value)| {
                    Ok((key.clone(), self.fill(&format!("{path}.{key}"), value, variables)?))
                };
                Value::Object(object.iter().map(fill).collect::<Result<_, _>>()?)
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }
}

fn environment() -> Environment<'static> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Chainable);
    templates.set_auto_escape_callback(|_| AutoEscape::None);
    templates.set_fuel(Some(FUEL));
    // As JSON and rules write it; Jinja would print `True`.
    templates.set_formatter(|out, state, value| match bool::try_from(value.clone()) {
        Ok(flag) if value.kind() == ValueKind::Bool => {
            out.write_str(if flag { "true" } else { "false" }).map_err(Into::into)
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    templates
}

fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Calls `found` with the path and the text of each template.
fn each_template<E>(path: &str, value: &Value, found: &mut impl FnMut(&str, &str) -> Result<(), E>) -> Result<(), E> {
    match value {
        Value::String(text) if is_template(text) => found(path, text),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .try_for_each(|(position, element)| each_template(&format!("{path}[{position}]"), element, found)),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            each_template(&path, value, found)
        }),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// The fields that a path such as `event.organizer.email` asks for; all of them where it does not say.
fn used<'p>(
    thing: &str,
    fields: Fields,
    mut names: impl Iterator<Item = &'p str>,
) -> Result<Vec<&'static str>, String> {
    let Some(name) = names.next() else { return Ok(fields.iter().map(|(field, _)| *field).collect()) };
    let (field, kind) = find(thing, fields, name)?;
    match (kind, names.next()) {
        (Kind::Person, Some(of_person)) => find(name, facts::PERSON, of_person).map(|_| vec![field]),
        (Kind::Json, _) | (_, None) => Ok(vec![field]),
        (_, Some(inner)) => Err(format!("`{thing}.{name}` has no `{inner}`")),
    }
}

fn find(thing: &str, fields: Fields, name: &str) -> Result<(&'static str, Kind), String> {
    fields.iter().copied().find(|(field, _)| *field == name).ok_or_else(|| {
        format!("`{thing}` has no `{name}`{}", did_you_mean(name, fields.iter().map(|(field, _)| *field)))
    })
}

/// A fact as a template sees it: a time in RFC 3339, a duration in seconds.
fn filled(fact: Fact) -> Filled {
    match fact {
        Fact::Flag(flag) => flag.into(),
        Fact::Number(number) => number.into(),
        Fact::Text(text) => text.into_owned().into(),
        Fact::Time(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into(),
        Fact::Length(length) => length.num_seconds().into(),
        Fact::Person(person) => {
            object(facts::PERSON.iter().map(|(name, _)| (*name, person.field(name).map_or(Filled::UNDEFINED, filled))))
        }
        Fact::Attendees(attendees) => {
            let attendee = |attendee: &facts::Attendee| {
                let field = |name| attendee.field(name).map_or(Filled::UNDEFINED, filled);
                object(facts::ATTENDEE.iter().map(|(name, _)| (*name, field(name))))
            };
            attendees.iter().map(attendee).collect()
        }
        Fact::Json(json) => filled_json(json),
    }
}

/// Null is missing, so that it is printed as nothing and asked for fields.
fn filled_json(json: &Value) -> Filled {
    match json {
        Value::Null => Filled::UNDEFINED,
        Value::Array(elements) => elements.iter().map(filled_json).collect(),
        Value::Object(fields) => object(fields.iter().map(|(name, value)| (name.as_str(), filled_json(value)))),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or_default().into(),
        },
        Value::String(text) => text.as_str().into(),
    }
}

fn object<'n>(fields: impl Iterator<Item = (&'n str, Filled)>) -> Filled {
    Filled::from_pairs(fields)
}

/// Cuts a name that is too long for the API; one that is empty is left to the API's default.
fn fit_name(config: &mut Map<String, Value>) {
    let name = config.get("bot_name").and_then(Value::as_str).unwrap_or_default().trim();
    let name: String = name.chars().take(MAX_NAME_CHARS).collect();
    if name.is_empty() {
        config.remove("bot_name");
    } else {
        config.insert("bot_name".to_owned(), name.into());
    }
}

impl fmt::Debug for BotConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BotConfig").field(&self.0.source).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(config: &Value) -> Result<BotConfig, String> {
        BotConfig::parse(config.as_object().unwrap().clone()).map_err(|error| error.to_string())
    }

    /// A configuration for the first made-up event, Google's `Weekly sync`.
    fn render(config: &Value) -> Value {
        render_on(config, 0)
    }

    fn render_on(config: &Value, sample: usize) -> Value {
        let (event, calendar) = samples().swap_remove(sample);
        parse(config).unwrap().render(&Facts::of(&event, &calendar)).unwrap().into()
    }

    #[test]
    fn a_configuration_without_templates_is_left_as_it_is() {
        let config = json!({"bot_name": "", "metadata": {"a": "{b}", "c": null}, "n": [1, true, "x % y"]});
        assert_eq!(render(&config), config);
        assert_eq!(parse(&config).unwrap().source(), config.as_object().unwrap());
    }

    #[test]
    fn templates_are_filled_in_at_any_depth_and_keys_are_not() {
        let config = json!({
            "bot_name": "{{ event.title }} (notes)",
            "{{ event.title }}": 1,
            "a": [{"b": "{% if event.external_count > 0 %}customer{% else %}team{% endif %}"}, "c"],
            "metadata": {"plan": "{{ calendar.metadata.plan }}", "who": "{{ event.organizer.domain }}"},
        });
        assert_eq!(
            render(&config),
            json!({
                "bot_name": "Weekly sync (notes)",
                "{{ event.title }}": 1,
                "a": [{"b": "customer"}, "c"],
                "metadata": {"plan": "pro", "who": "acme.test"},
            })
        );
    }

    #[test]
    fn values_are_printed_as_documented() {
        let printed = |template: &str| render(&json!({ "a": template }))["a"].as_str().unwrap().to_owned();
        assert_eq!(printed("{{ event.start }}"), "2026-01-20T21:30:00Z");
        assert_eq!(printed("{{ event.duration }}"), "1800");
        assert_eq!(printed("{{ event.is_recurring }}"), "true");
        assert_eq!(printed("{{ event.external_count }}"), "1");
        assert_eq!(
            printed("{{ event.attendees | map(attribute='email') | join(', ') }}"),
            "host@acme.test, user@acme.test, guest@other.test"
        );
        assert_eq!(printed("{{ event.raw.start.timeZone }}"), "America/New_York");
        assert_eq!(printed("{{ '<b>' ~ event.title | upper }}"), "<b>WEEKLY SYNC", "nothing is escaped");
        assert_eq!(printed("{{ event['title'] }}"), "Weekly sync");
    }

    #[test]
    fn what_is_missing_is_empty() {
        for template in
            ["{{ event.raw.x.y.z }}", "{{ calendar.metadata.x }}", "{% for a in event.raw.x %}a{% endfor %}"]
        {
            for sample in 0..4 {
                assert_eq!(render_on(&json!({ "a": template }), sample), json!({"a": ""}), "{template}");
            }
        }
        assert_eq!(
            render_on(&json!({"a": "{{ event.raw.seriesMasterId.x }}"}), 1),
            json!({"a": ""}),
            "null is missing"
        );
        assert_eq!(render_on(&json!({"a": "{{ event.raw.x or 'none' }}"}), 0), json!({"a": "none"}));
    }

    #[test]
    fn a_name_is_cut_to_what_the_api_takes_and_left_out_if_empty() {
        let name = |name: &str| render_on(&json!({ "bot_name": name }), 2);
        assert_eq!(name(" {{ event.title }} "), json!({}));
        let long = format!("{{{{ event.title }}}}{}", "é".repeat(101));
        assert_eq!(name(&long), json!({ "bot_name": "é".repeat(100) }));
    }

    #[test]
    fn a_mistake_is_named_with_its_field() {
        let refused = |config: Value| parse(&config).unwrap_err();
        assert_eq!(
            refused(json!({"metadata": {"tenant": "{{ event.titel }}"}})),
            "metadata.tenant: `event` has no `titel`: did you mean `title`?"
        );
        assert_eq!(refused(json!({"a": ["{{ evnt.title }}"]})), "a[0]: there is no `evnt`: did you mean `event`?");
        assert_eq!(refused(json!({"a": "{{ title }}"})), "a: there is no `title`: write {{ event.title }}");
        assert_eq!(
            refused(json!({"a": "{{ event.organizer.mail }}"})),
            "a: `organizer` has no `mail`: did you mean `email`?"
        );
        assert_eq!(refused(json!({"a": "{{ event.title.x }}"})), "a: `event.title` has no `x`");
        assert_eq!(
            refused(json!({"a": "{{ event.title"})),
            "a: unexpected end of input, expected end of variable block: write {{ event.title }}"
        );
        assert_eq!(
            refused(json!({"a": "{{ event.title | shout }}"})),
            "a: cannot be filled in for a made-up event: unknown filter"
        );
    }

    #[test]
    fn a_template_takes_a_bounded_number_of_steps() {
        let config = json!({"a": "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"});
        assert_eq!(parse(&config).unwrap_err(), "a: cannot be filled in for a made-up event: engine ran out of fuel");
    }

    #[test]
    fn an_error_does_not_say_what_is_in_the_event() {
        let config = parse(&json!({"a": "{% if event.raw.x %}{{ event.raw.x | round }}{% endif %}"})).unwrap();
        let (mut event, calendar) = samples().swap_remove(0);
        event.raw = serde_json::value::to_raw_value(&json!({"x": "secret"})).unwrap();
        let error = config.render(&Facts::of(&event, &calendar)).unwrap_err();
        assert_eq!(error.to_string(), "a cannot be filled in: invalid operation");
        assert!(!format!("{error:?}").contains("secret"));
    }
}
