//! People's doings over HTTP.

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Misuse;
use crate::sim::{NewCalendar, NewEvent, Recall};

pub(super) async fn connect(State(recall): State<Recall>, Json(new): Json<NewCalendar>) -> Json<Value> {
    Json(json!({"id": recall.connect_calendar(new)}))
}

pub(super) async fn delete(State(recall): State<Recall>, Path(id): Path<Uuid>) -> Result<(), Misuse> {
    recall.delete_calendar(recall.find_calendar(id)?);
    Ok(())
}

pub(super) async fn change(
    State(recall): State<Recall>,
    Path((id, change)): Path<(Uuid, String)>,
) -> Result<(), Misuse> {
    let id = recall.find_calendar(id)?;
    match change.as_str() {
        "disconnect" => recall.disconnect_calendar(id),
        "interrupt" => recall.interrupt_calendar(id),
        "reconnect" => recall.reconnect_calendar(id),
        "touch" => recall.touch_calendar(id),
        _ => return Err(Misuse::Route),
    }
    Ok(())
}

pub(super) async fn create_events(
    State(recall): State<Recall>,
    Path(id): Path<Uuid>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Misuse> {
    let id = recall.find_calendar(id)?;
    let new: Vec<NewEvent> = match body {
        Value::Array(_) => serde_json::from_value(body)?,
        one => vec![serde_json::from_value(one)?],
    };
    Ok(Json(json!({"ids": recall.create_events(id, new)})))
}

/// One meeting on several calendars.
#[derive(Debug, Deserialize)]
pub(super) struct SameMeeting {
    calendars: Vec<Uuid>,
    event: NewEvent,
}

pub(super) async fn same_meeting(
    State(recall): State<Recall>,
    Json(body): Json<SameMeeting>,
) -> Result<Json<Value>, Misuse> {
    for calendar in &body.calendars {
        recall.find_calendar(*calendar)?;
    }
    Ok(Json(json!({"ids": recall.same_meeting_on(&body.calendars, &body.event)})))
}

pub(super) async fn insert_printed(State(recall): State<Recall>, Json(event): Json<Value>) -> Json<Value> {
    Json(json!({"id": recall.insert_raw_event(event)}))
}

pub(super) async fn delete_event(State(recall): State<Recall>, Path(id): Path<Uuid>) -> Result<(), Misuse> {
    recall.delete_event(recall.find_event(id)?);
    Ok(())
}

pub(super) async fn edit_event(
    State(recall): State<Recall>,
    Path(id): Path<Uuid>,
    Json(fields): Json<Value>,
) -> Result<(), Misuse> {
    let id = recall.find_event(id)?;
    let mut fits = Ok(());
    recall.edit_event(id, |meeting| match overlaid(meeting, &fields) {
        Ok(edited) => *meeting = edited,
        Err(error) => fits = Err(error),
    });
    Ok(fits?)
}

/// The event with some of its fields replaced.
fn overlaid(meeting: &NewEvent, fields: &Value) -> serde_json::Result<NewEvent> {
    let mut edited = serde_json::to_value(meeting)?;
    if let (Some(edited), Some(fields)) = (edited.as_object_mut(), fields.as_object()) {
        edited.extend(fields.clone());
    }
    serde_json::from_value(edited)
}

#[derive(Debug, Deserialize)]
struct Start {
    start: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct Link {
    meeting_url: Option<String>,
}

pub(super) async fn change_event(
    State(recall): State<Recall>,
    Path((id, change)): Path<(Uuid, String)>,
    body: String,
) -> Result<Json<Value>, Misuse> {
    let id = recall.find_event(id)?;
    match change.as_str() {
        "move" => recall.move_event(id, serde_json::from_str::<Start>(&body)?.start),
        "relink" => {
            let link: Link = serde_json::from_str(&body)?;
            recall.relink_event(id, link.meeting_url.as_deref());
        }
        "cancel" => recall.cancel_event(id),
        "restore" => recall.restore_event(id),
        "kick" => return Ok(Json(json!({"was_in_call": recall.kick_bot(id)}))),
        _ => return Err(Misuse::Route),
    }
    Ok(Json(recall.event(id).unwrap_or_default()))
}
