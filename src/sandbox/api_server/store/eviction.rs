//! `pods/eviction`: a deletion that asks the pod's budgets first. There are none here, so that it is never refused.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::Body;
use super::refusal::Refusal;
use super::{Call, Store};

impl Store {
    pub(super) fn evict(&mut self, call: &mut Call<'_>) -> Result<Body, Refusal> {
        let named = call.body.pointer("/metadata/name").and_then(Value::as_str);
        let target = call.target.name.as_deref().unwrap_or_default();
        if named.is_some_and(|named| named != target) {
            return Err(Refusal::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        call.body = Arc::new(call.body.get("deleteOptions").cloned().unwrap_or_default());
        self.delete(call)?;
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}).into())
    }
}
