//! Which names a CEL rule may use: those that its schema declares.
//!
//! The real server type-checks rules when a definition is installed. Of that, this keeps what silently changes
//! a rule's meaning: a misspelled field (`has(self.tpyo)` is simply false), a variable that does not exist, and
//! `oldSelf` where there is no former value to compare with. Fields that are only preserved, not declared, do
//! not exist for rules.

use std::collections::BTreeMap;

use cel::IdedExpr;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, SelectExpr};
use serde_json::{Value, json};

/// The variables in reach, each with its schema where that is known.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    variables: BTreeMap<String, Option<&'a Value>>,
}

/// Names that stand for types, as in `type(self.port) == int`.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

impl<'a> Scope<'a> {
    pub fn new(schema: &'a Value, has_former: bool) -> Self {
        let mut variables = BTreeMap::from([("self".to_owned(), Some(schema))]);
        if has_former {
            variables.insert("oldSelf".to_owned(), Some(schema));
        }
        Scope { variables }
    }

    /// Refuses a name that is not declared; otherwise the schema of the expression's value, where it is known.
    pub fn check(&self, expression: &IdedExpr) -> Result<Option<&'a Value>, String> {
        match &expression.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.field(select),
            Expr::Call(call) => {
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                let schemas = parts
                    .map(|part| self.check(part))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(result_of(&call.func_name, &schemas))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => self.all(list.elements.iter()),
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(made) => self.entries(made.entries.iter().map(|entry| &entry.expr)),
            Expr::Literal(_) | Expr::Unspecified => Ok(None),
        }
    }

    fn variable(&self, name: &str) -> Result<Option<&'a Value>, String> {
        match self.variables.get(name) {
            Some(schema) => Ok(*schema),
            // The accumulators of macros.
            None if name.starts_with('@') || TYPES.contains(&name) => Ok(None),
            None => Err(format!("undeclared reference to '{name}'")),
        }
    }

    fn field(&self, select: &SelectExpr) -> Result<Option<&'a Value>, String> {
        let Some(schema) = self.check(&select.operand)? else {
            return Ok(None);
        };
        let name = &select.field;
        if let Some(additional @ Value::Object(_)) = schema.get("additionalProperties") {
            return Ok(Some(additional));
        }
        let declared = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (property, schema) in declared {
            if super::cel::escape(property) == *name && !is_unknown_type(schema) {
                return Ok(Some(schema));
            }
        }
        let is_embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
        if is_embedded && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
            return Ok(None);
        }
        Err(format!("undefined field '{name}'"))
    }

    fn comprehension(&self, made: &ComprehensionExpr) -> Result<Option<&'a Value>, String> {
        let range = self.check(&made.iter_range)?;
        self.check(&made.accu_init)?;
        let mut inner = self.clone();
        let items = range.and_then(|schema| schema.get("items"));
        let first = if made.iter_var2.is_none() { items } else { None };
        inner.variables.insert(made.iter_var.clone(), first);
        inner
            .variables
            .extend(made.iter_var2.iter().map(|name| (name.clone(), None)));
        inner.variables.insert(made.accu_var.clone(), None);
        inner.all([&made.loop_cond, &made.loop_step, &made.result].into_iter())
    }

    fn entries<'e>(&self, entries: impl Iterator<Item = &'e EntryExpr>) -> Result<Option<&'a Value>, String> {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => self.check(&field.value)?,
                EntryExpr::MapEntry(entry) => self.all([&entry.key, &entry.value].into_iter())?,
            };
        }
        Ok(None)
    }

    /// Checks expressions whose value has no schema of its own.
    fn all<'e>(&self, mut parts: impl Iterator<Item = &'e IdedExpr>) -> Result<Option<&'a Value>, String> {
        parts.try_for_each(|part| self.check(part).map(|_| ()))?;
        Ok(None)
    }
}

/// What a call hands through: an element, or a branch of a condition.
fn result_of<'a>(function: &str, schemas: &[Option<&'a Value>]) -> Option<&'a Value> {
    match (function, schemas) {
        ("_[_]", [Some(container), ..]) => {
            let element = container
                .get("items")
                .or_else(|| container.get("additionalProperties"));
            element.filter(|schema| schema.is_object())
        }
        ("_?_:_", [_, one, other]) => one.or(*other),
        _ => None,
    }
}

/// Values of no declared type do not exist for rules.
fn is_unknown_type(schema: &Value) -> bool {
    schema.get("type").is_none() && schema.get("x-kubernetes-int-or-string").is_none()
}

/// The root of an object declares its type and its names, whatever its schema says.
pub(super) fn with_head(schema: &Value) -> Value {
    let mut declared = schema.clone();
    let text = json!({"type": "string"});
    let metadata = json!({"type": "object", "properties": {"name": text, "generateName": text}});
    if let Some(fields) = declared.as_object_mut() {
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            properties.insert("apiVersion".to_owned(), text.clone());
            properties.insert("kind".to_owned(), text);
            properties.insert("metadata".to_owned(), metadata);
        }
    }
    declared
}
