//! The CEL rules of a schema (`x-kubernetes-validations`), compiled once per definition.
//!
//! The language comes from the `cel` crate; here is what Kubernetes adds: where a rule sits, what `self` and
//! `oldSelf` are, when a transition rule applies, that a value which has not changed is not judged again, and how a
//! broken rule is reported. Guarantee: a rule that
//! does not compile, calls a function or names a field that is not known, refuses the definition. Differs from the
//! real server: the types of operands are not checked and there is no cost limit; a type error shows when the
//! rule runs, and then counts as a broken rule.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map as CelMap};
use cel::{Context, Env, Program, Value as CelValue};
use serde_json::Value;

use super::cel_scope::{self, Scope};
use crate::api::schema::{FieldPath, Reason, Violation, list_map_key, list_map_keys};

/// The standard library and the string functions that Kubernetes has too.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // Fails only when an overload is declared twice, which a fresh environment rules out.
    let _ = cel::extensions::strings(&mut environment);
    Arc::new(environment)
});

/// Functions that both the library and Kubernetes have. Operators are not named functions.
const FUNCTIONS: &[&str] = &[
    "size",
    "matches",
    "startsWith",
    "endsWith",
    "contains",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "bytes",
    "duration",
    "timestamp",
    "type",
    "dyn",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "join",
    "lowerAscii",
    "upperAscii",
    "trim",
    "replace",
    "split",
    "substring",
];

/// The rules of one schema node and of those below it.
#[derive(Default)]
pub struct Rules {
    rules: Vec<Rule>,
    properties: BTreeMap<String, Rules>,
    additional: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    schema: Value,
    /// Whether a transition rule is here or below: those run on values that have not changed, too.
    has_transition: bool,
}

impl fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.rules.iter().map(|rule| rule.text.as_str()).collect();
        formatter
            .debug_struct("Rules")
            .field("rules", &texts)
            .field("properties", &self.properties)
            .finish()
    }
}

struct Rule {
    text: String,
    program: Program,
    /// Only meaningful between two versions of a value.
    is_transition: bool,
    message: Option<String>,
    message_program: Option<Program>,
    field: Option<String>,
    reason: Reason,
}

impl Rules {
    pub fn compile(schema: &Value) -> Result<Rules, Vec<Violation>> {
        let mut broken = Vec::new();
        let schema = cel_scope::with_head(schema);
        let path = FieldPath::ROOT.child("spec.versions[0].schema.openAPIV3Schema");
        let rules = compile_node(&schema, true, &path, &mut broken);
        if broken.is_empty() {
            Ok(rules.unwrap_or_default())
        } else {
            Err(broken)
        }
    }

    /// Every rule that the object breaks; `old` is what it replaces.
    pub fn violations(&self, object: &Value, old: Option<&Value>) -> Vec<Violation> {
        let mut found = Vec::new();
        self.check(object, old, &FieldPath::ROOT, true, &mut found);
        found
    }

    fn check(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &FieldPath<'_>,
        is_root: bool,
        found: &mut Vec<Violation>,
    ) {
        let is_unchanged = old == Some(value);
        if value.is_null() || is_unchanged && !self.has_transition {
            return;
        }
        if !self.rules.is_empty() {
            let convert = |value| match is_root {
                true => convert_root(value, &self.schema, &self.rules),
                false => convert(value, &self.schema),
            };
            let this = convert(value);
            let old = old.map(convert);
            found.extend(
                self.rules
                    .iter()
                    .filter(|rule| rule.is_transition || !is_unchanged)
                    .filter_map(|rule| rule.broken(value, &this, old.as_ref(), path)),
            );
        }
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let rules = self.properties.get(name).or(self.additional.as_deref());
                    let Some(rules) = rules else { continue };
                    let old = old.and_then(|old| old.get(name));
                    rules.check(field, old, &path.child(name), false, found);
                }
            }
            Value::Array(items) => {
                let Some(rules) = &self.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let old = old.and_then(|old| self.old_item(item, old));
                    rules.check(item, old, &path.index(index), false, found);
                }
            }
            _ => {}
        }
    }

    /// The former version of a list item, known only in lists of type `map`.
    fn old_item<'a>(&self, item: &Value, old: &'a Value) -> Option<&'a Value> {
        if !is_list_map(&self.schema) {
            return None;
        }
        let keys = list_map_keys(&self.schema);
        let wanted = list_map_key(&keys, item);
        old.as_array()?
            .iter()
            .find(|former| list_map_key(&keys, former) == wanted)
    }
}

fn is_list_map(schema: &Value) -> bool {
    schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("map")
}

/// `has_former` says that a value here can be told from its former version: not so below a list that is
/// replaced whole.
fn compile_node(
    schema: &Value,
    has_former: bool,
    path: &FieldPath<'_>,
    broken: &mut Vec<Violation>,
) -> Option<Rules> {
    let scope = Scope::new(schema, has_former);
    let listed = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    let mut rules = Vec::new();
    for (index, rule) in listed.into_iter().flatten().enumerate() {
        match Rule::compile(rule, &scope) {
            Ok(rule) => rules.push(rule),
            Err(why) => {
                let field = format!("{path}.x-kubernetes-validations[{index}].rule");
                broken.push(Violation::invalid(field, rule, why));
            }
        }
    }
    let mut properties = BTreeMap::new();
    let below_properties = path.child("properties");
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = below_properties.child(name);
        if let Some(rules) = compile_node(property, has_former, &path, broken) {
            properties.insert(name.clone(), rules);
        }
    }
    let mut below = |name: &str, has_former: bool| {
        let schema = schema.get(name).filter(|schema| schema.is_object())?;
        compile_node(schema, has_former, &path.child(name), broken).map(Box::new)
    };
    let additional = below("additionalProperties", has_former);
    let items = below("items", has_former && is_list_map(schema));
    let children = properties
        .values()
        .chain(additional.as_deref())
        .chain(items.as_deref());
    let has_transition = rules.iter().any(|rule: &Rule| rule.is_transition)
        || children.into_iter().any(|child| child.has_transition);
    let is_empty = rules.is_empty() && properties.is_empty() && additional.is_none() && items.is_none();
    (!is_empty).then(|| Rules {
        rules,
        properties,
        additional,
        items,
        schema: schema.clone(),
        has_transition,
    })
}

fn compile(source: &str, scope: &Scope<'_>) -> Result<Program, String> {
    let program = ENVIRONMENT
        .compile(source)
        .map_err(|error| format!("compilation failed: {error}"))?;
    let references = program.references();
    let is_operator = |name: &str| name.starts_with(['_', '@', '!', '-']);
    let unknown = references
        .functions()
        .into_iter()
        .filter(|name| !is_operator(name) && !FUNCTIONS.contains(name))
        .min();
    if let Some(unknown) = unknown {
        return Err(format!("compilation failed: undeclared reference to '{unknown}'"));
    }
    scope
        .check(program.expression())
        .map_err(|why| format!("compilation failed: {why}"))?;
    Ok(program)
}

impl Rule {
    fn compile(rule: &Value, scope: &Scope<'_>) -> Result<Rule, String> {
        let text = |field: &str| rule.get(field).and_then(Value::as_str).map(str::to_owned);
        let source = text("rule").ok_or_else(|| "rule is required".to_owned())?;
        let program = compile(&source, scope)?;
        let message_program = text("messageExpression")
            .map(|source| compile(&source, scope))
            .transpose()?;
        let reason = match text("reason").as_deref() {
            None | Some("FieldValueInvalid") => Reason::Invalid,
            Some("FieldValueForbidden") => Reason::Forbidden,
            Some("FieldValueRequired") => Reason::Required,
            Some("FieldValueDuplicate") => Reason::Duplicate,
            Some(other) => return Err(format!("reason \"{other}\" is not supported")),
        };
        if rule.get("optionalOldSelf").is_some() {
            return Err("optionalOldSelf is not supported by the sandbox".to_owned());
        }
        Ok(Rule {
            is_transition: program.references().has_variable("oldSelf"),
            message: text("message"),
            field: text("fieldPath"),
            text: source,
            program,
            message_program,
            reason,
        })
    }

    fn broken(
        &self,
        value: &Value,
        this: &CelValue,
        old: Option<&CelValue>,
        path: &FieldPath<'_>,
    ) -> Option<Violation> {
        if self.is_transition && old.is_none() {
            return None;
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.add_variable_from_value("self", this.clone());
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", old.clone());
        }
        let detail = match self.program.execute(&context) {
            Ok(CelValue::Bool(true)) => return None,
            Ok(CelValue::Bool(false)) => self.message(&context),
            Ok(other) => format!("rule did not evaluate to a bool but to {other:?}: {}", self.text),
            Err(error) => format!(
                "{error} evaluating rule: {}",
                self.message.as_ref().unwrap_or(&self.text)
            ),
        };
        let field = match &self.field {
            Some(below) => format!("{path}{below}").trim_start_matches("<nil>.").to_owned(),
            None => path.to_string(),
        };
        Some(Violation::new(field, self.reason, &shown(value), detail))
    }

    fn message(&self, context: &Context<'_, '_>) -> String {
        let computed = self
            .message_program
            .as_ref()
            .and_then(|program| program.execute(context).ok());
        match (computed, &self.message) {
            (Some(CelValue::String(text)), _) if !text.trim().is_empty() => text.as_ref().clone(),
            (_, Some(message)) => message.clone(),
            _ => format!("failed rule: {}", self.text),
        }
    }
}

/// Objects and lists are not quoted in the report of a rule, only named.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::from("object"),
        Value::Array(_) => Value::from("array"),
        scalar => scalar.clone(),
    }
}

/// A whole object as rules see it: of metadata only the names, and no field that no rule mentions, for most of an
/// object is nothing to the few rules about the whole of it.
fn convert_root(object: &Value, schema: &Value, rules: &[Rule]) -> CelValue {
    let is_mentioned = |name: &str| {
        rules.iter().any(|rule| {
            let elsewhere = rule.text.replace("self.", "");
            elsewhere.contains(name) || elsewhere.contains("self")
        })
    };
    let fields = object.as_object().into_iter().flatten();
    let mentioned = fields
        .filter(|(name, _)| is_mentioned(name))
        .map(|(name, value)| match name.as_str() {
            "metadata" => (name.clone(), names_only(value)),
            _ => (name.clone(), value.clone()),
        });
    convert(&Value::Object(mentioned.collect()), schema)
}

/// A value as rules see it: numbers typed by the schema, field names escaped.
fn convert(value: &Value, schema: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => {
            let is_double = schema.get("type").and_then(Value::as_str) == Some("number");
            match number.as_i64() {
                Some(whole) if !is_double => CelValue::Int(whole),
                _ => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
            }
        }
        Value::String(text) => CelValue::String(Arc::new(text.clone())),
        Value::Array(items) => {
            let schema = schema.get("items").unwrap_or(&Value::Null);
            CelValue::List(Arc::new(items.iter().map(|item| convert(item, schema)).collect()))
        }
        Value::Object(fields) => {
            let known = schema.get("properties");
            let additional = schema.get("additionalProperties").unwrap_or(&Value::Null);
            let map: HashMap<Key, CelValue> = fields
                .iter()
                .map(|(name, value)| {
                    let property = known.and_then(|known| known.get(name));
                    let key = if property.is_some() {
                        escape(name)
                    } else {
                        name.clone()
                    };
                    let value = convert(value, property.unwrap_or(additional));
                    (Key::String(Arc::new(key)), value)
                })
                .collect();
            CelValue::Map(CelMap { map: Arc::new(map) })
        }
    }
}

fn names_only(metadata: &Value) -> Value {
    let field = |name: &str| metadata.get(name).map(|value| (name.to_owned(), value.clone()));
    Value::Object(["name", "generateName"].into_iter().filter_map(field).collect())
}

const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
];

/// A property's name as an identifier of the language.
pub(super) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
