//! Facts as CEL sees them: looked up when the expression asks, and empty where there is nothing.

use std::{any::Any, cmp::Ordering, sync::Arc};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer, Iterable, Iterator as Items, Sizer},
        types::{
            CelBool, CelDouble, CelDuration, CelInt, CelList, CelNull, CelString, CelTimestamp, LIST_TYPE, NULL_TYPE,
            Type,
        },
        value::{CowVal, Val},
    },
};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde_json::{Map, Value};

use super::language;
use crate::domain::facts::{Attendee, Fact, Facts, NOBODY, Person};

static THING: Type = Type::new_unspecified_type("thing");
static NULL: CelNull = CelNull;

/// A thing that has fields or elements, or is not there.
#[derive(Clone, Debug)]
pub(super) enum Lazy<'f> {
    Event(&'f Facts<'f>),
    Calendar(&'f Facts<'f>),
    Person(&'f Person),
    Attendee(&'f Attendee),
    Object(&'f Map<String, Value>),
    /// Its elements, and what stands beyond the last.
    List(Arc<[Box<dyn Val + 'f>]>, Box<Lazy<'f>>),
    /// Null: equal to null, without fields and elements.
    Missing,
}

impl<'f> Lazy<'f> {
    fn field<'v>(&self, name: &str) -> Box<dyn Val + 'v>
    where
        'f: 'v,
    {
        let fact = match *self {
            Self::Event(facts) => facts.event(name),
            Self::Calendar(facts) => facts.calendar(name),
            Self::Person(person) => person.field(name),
            Self::Attendee(attendee) => attendee.field(name),
            Self::Object(object) => object.get(name).map(Fact::Json),
            Self::List(..) | Self::Missing => None,
        };
        fact.map_or_else(|| Box::new(Self::Missing) as Box<dyn Val + 'v>, value)
    }
}

fn value<'v>(fact: Fact<'v>) -> Box<dyn Val + 'v> {
    match fact {
        Fact::Flag(flag) => Box::new(CelBool::from(flag)),
        Fact::Number(number) => Box::new(CelInt::from(number)),
        Fact::Text(text) => Box::new(CelString::from(text)),
        Fact::Time(time) => Box::new(CelTimestamp::from(within_cel(time).fixed_offset())),
        Fact::Length(length) => Box::new(CelDuration::from(length)),
        Fact::Person(person) => Box::new(Lazy::Person(person)),
        Fact::Attendees(attendees) => {
            Box::new(list(attendees, |attendee| Box::new(Lazy::Attendee(attendee)), Lazy::Attendee(&NOBODY)))
        }
        Fact::Json(json) => json_value(json),
    }
}

fn json_value(json: &Value) -> Box<dyn Val + '_> {
    match json {
        Value::Null => Box::new(Lazy::Missing),
        Value::Bool(flag) => Box::new(CelBool::from(*flag)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Box::new(CelInt::from(number)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or_default())),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(elements) => Box::new(list(elements, json_value, Lazy::Missing)),
        Value::Object(object) => Box::new(Lazy::Object(object)),
    }
}

/// A list costs as much as going through it.
fn list<'f, T>(elements: &'f [T], value: fn(&'f T) -> Box<dyn Val + 'f>, beyond: Lazy<'f>) -> Lazy<'f> {
    let elements = if language::spend(elements.len()) { elements } else { &[] };
    Lazy::List(elements.iter().map(value).collect(), Box::new(beyond))
}

/// CEL's times end with the year 9999, and chrono panics where a sum is beyond its own last year.
fn within_cel(time: DateTime<Utc>) -> DateTime<Utc> {
    let last = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or_default().and_time(NaiveTime::MIN).and_utc();
    let first = NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or_default().and_time(NaiveTime::MIN).and_utc();
    time.clamp(first, last)
}

/// Whether it is null, or a field that is not there.
pub(super) fn is_missing(value: &dyn Val) -> bool {
    value.downcast_ref::<CelNull>().is_some()
}

/// How two values that may be missing compare; `None` if either is.
pub(super) fn compare(left: &dyn Val, right: &dyn Val) -> Result<Option<Ordering>, ExecutionError> {
    if is_missing(left) || is_missing(right) {
        return Ok(None);
    }
    let mismatch = || ExecutionError::no_such_overload("compare", Vec::new());
    left.as_comparer().ok_or_else(mismatch)?.compare(right).map(Some).map_err(|_| mismatch())
}

impl Val for Lazy<'_> {
    fn get_type(&self) -> &Type {
        match self {
            Self::Missing => &NULL_TYPE,
            Self::List(..) => &LIST_TYPE,
            Self::Event(_) | Self::Calendar(_) | Self::Person(_) | Self::Attendee(_) | Self::Object(_) => &THING,
        }
    }

    fn cel_type() -> &'static Type {
        &THING
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        match self {
            Self::Missing => is_missing(other),
            Self::List(elements, _) => match other.downcast_ref::<CelList>() {
                Some(list) => {
                    let list = list.inner();
                    list.len() == elements.len() && elements.iter().zip(list).all(|(left, right)| left.equals(&**right))
                }
                None => false,
            },
            Self::Event(_) | Self::Calendar(_) | Self::Person(_) | Self::Attendee(_) | Self::Object(_) => false,
        }
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    /// Makes `null == missing` hold as well.
    fn as_any(&self) -> Option<&dyn Any> {
        matches!(self, Self::Missing).then_some(&NULL)
    }
}

impl Indexer for Lazy<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        if let Some(name) = index.downcast_ref::<CelString>() {
            return Ok(CowVal::Owned(self.field(name.inner())));
        }
        match (self, index.downcast_ref::<CelInt>()) {
            (Self::List(elements, beyond), Some(position)) => {
                let element = usize::try_from(*position.inner()).ok().and_then(|position| elements.get(position));
                Ok(element.map_or(CowVal::Borrowed(&**beyond), |element| CowVal::Borrowed(&**element)))
            }
            _ => Ok(CowVal::owned(Lazy::Missing)),
        }
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Container for Lazy<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(match self {
            Self::List(elements, _) => elements.iter().any(|element| element.equals(value)),
            Self::Object(object) => {
                value.downcast_ref::<CelString>().is_some_and(|name| object.contains_key(name.inner()))
            }
            Self::Event(_) | Self::Calendar(_) | Self::Person(_) | Self::Attendee(_) | Self::Missing => false,
        })
    }
}

impl Sizer for Lazy<'_> {
    fn size(&self) -> CelInt {
        let size = match self {
            Self::List(elements, _) => elements.len(),
            Self::Object(object) => object.len(),
            Self::Event(_) | Self::Calendar(_) | Self::Person(_) | Self::Attendee(_) | Self::Missing => 0,
        };
        i64::try_from(size).unwrap_or(i64::MAX).into()
    }
}

impl Iterable for Lazy<'_> {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Items<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        match self {
            Self::List(elements, _) => Box::new(Elements(elements)),
            _ => Box::new(Elements(&[])),
        }
    }
}

struct Elements<'b, 'f>(&'b [Box<dyn Val + 'f>]);

impl<'b, 'v, 'f: 'v> Items<'b, 'v> for Elements<'b, 'f> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(&**first)
    }
}
