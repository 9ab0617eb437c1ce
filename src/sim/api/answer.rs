//! Answers, and the shapes of errors (recall-api §6). Bodies other than those of 401, 403 and "has ended" are \[U\].

use serde_json::{Value, json};

use crate::sim::config::ErrorShape;
use crate::sim::model::Refusal;

/// An answer on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(status: u16, body: String) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `{"code", "detail"}`
    pub(super) fn coded(status: u16, code: &str, detail: &str) -> Self {
        Self::json(status, json!({"code": code, "detail": detail}).to_string())
    }

    /// An error of which only the status matters. A 502 is a proxy's HTML page.
    pub(super) fn status(status: u16) -> Self {
        if status == 502 {
            let page = "<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>";
            return Self::empty(502).with("content-type", "text/html").with_body(page);
        }
        let (code, detail) = match status {
            400 => ("invalid_request_data", "Request was invalid."),
            401 => ("authentication_failed", "Invalid API token."),
            402 => ("payment_required", "Insufficient credit."),
            403 => ("request_blocked", "The request was blocked."),
            404 => ("not_found", "Not found."),
            405 => ("method_not_allowed", "Method not allowed."),
            409 => ("conflict", "A concurrent request is under way. Try again."),
            429 => ("throttled", "Request was throttled."),
            507 => ("adhoc_pool_depleted", "All ad-hoc bots are in use. Try again in 30 seconds."),
            _ => ("error", "A server error occurred."),
        };
        Self::coded(status, code, detail)
    }

    fn with_body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// 400 in the documented shape, about one field.
    pub(super) fn field(field: &str, message: &str) -> Self {
        let body = json!({
            "code": "invalid_request_data",
            "message": "Request was invalid. Check `errors` for more detail.",
            "errors": {field: [message]},
        });
        Self::json(400, body.to_string())
    }

    /// The answer to a refused call; a 507 may say when to try again.
    pub(super) fn refusal(refusal: &Refusal, pool_retry_after_secs: Option<u64>) -> Self {
        match refusal {
            Refusal::NotFound => Self::status(404),
            Refusal::Ended => Self::field("non_field_errors", "Cannot schedule bot as calendar event has ended."),
            Refusal::NotSchedulable(message) => Self::field("non_field_errors", message),
            Refusal::Field(field, message) => Self::field(field, message),
            Refusal::Coded(status, code, detail) => Self::coded(*status, code, detail),
            Refusal::PoolEmpty => match pool_retry_after_secs {
                Some(secs) => Self::status(507).with("retry-after", &secs.to_string()),
                None => Self::status(507),
            },
        }
    }

    /// Forces one shape on an error's body, keeping what it says.
    pub(super) fn shaped(self, shape: Option<ErrorShape>) -> Self {
        let Some(shape) = shape.filter(|_| self.status >= 400) else {
            return self;
        };
        let Ok(body) = serde_json::from_str::<Value>(&self.body) else {
            return self;
        };
        let code = body["code"].as_str().unwrap_or("error");
        let text = body["errors"]
            .as_object()
            .and_then(|errors| errors.values().next()?[0].as_str())
            .or_else(|| body["detail"].as_str())
            .unwrap_or_default();
        let shaped = match shape {
            ErrorShape::Detail => json!({"code": code, "detail": text}),
            ErrorShape::Errors => {
                json!({"code": code, "message": text, "errors": {"non_field_errors": [text]}})
            }
            ErrorShape::FieldMap => json!({"non_field_errors": [text]}),
        };
        Self { body: shaped.to_string(), ..self }
    }
}
