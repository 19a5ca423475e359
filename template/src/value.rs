//! Owns the lists, maps and namespaces of a template, and which value of Python each stands for. Each list and map knows
//! how large it is when it is written out as a tree, and how deep, so that no value is ever made that is too large or too
//! deep to print, compare, sort or drop, and none holds itself. Knows no operator and no filter.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, ObjectExt, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::meter;

/// How deep lists and maps may be nested.
const DEPTH: u32 = 64;
/// What one item takes in memory, and at least as a text.
const SLOT: u64 = 24;
/// How many names a namespace may have.
const NAMES: usize = 128;
/// Maps up to this length are searched from the front.
const SEARCHED: usize = 8;

/// The size of a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    /// Bytes of the tree: what is shared counts as often as it is met.
    pub(super) bytes: u64,
    /// Levels of nesting.
    depth: u32,
    /// Bytes in memory that are watched by nobody.
    loose: u64,
    /// Whether it is or holds a generator, whose text is an address in Jinja2.
    pub(super) is_once: bool,
}

/// Which value of Python a list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A list.
    List,
    /// A tuple.
    Tuple,
    /// A pair of `groupby`: a tuple whose parts have names.
    Group,
    /// A map.
    Map,
    /// What `range` gives.
    Range {
        /// The first number.
        start: i128,
        /// Where it ends, not included.
        stop: i128,
        /// From one number to the next.
        step: i128,
    },
    /// What `keys` gives.
    Keys,
    /// What `values` gives.
    Values,
    /// What `items` gives.
    Items,
    /// A generator: its items are there once, it has no length and no places, and it is true.
    Once,
}

/// A list, or a map where there are keys.
#[derive(Debug)]
pub(super) struct List {
    kind: Kind,
    keys: Option<Keys>,
    items: Vec<Value>,
    size: Size,
    /// How many items of a generator are gone.
    gone: AtomicUsize,
}

impl List {
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Values of a map, items of anything else.
    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }

    /// Names and values of a map.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.keys.iter().flat_map(|keys| &keys.names).zip(&self.items)
    }

    /// The next item of a generator.
    pub(super) fn next(&self) -> Option<Value> {
        let at = self.gone.fetch_add(1, Ordering::Relaxed);
        let item = self.items.get(at).cloned();
        if item.is_none() {
            self.gone.store(self.items.len(), Ordering::Relaxed);
        }
        item
    }

    /// Whether it has a length and places: lists, tuples and ranges.
    pub(super) fn is_sequence(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::Tuple | Kind::Group | Kind::Range { .. })
    }

    /// What a loop sees: keys of a map, what is left of a generator.
    fn seen(&self) -> Vec<Value> {
        match (&self.keys, self.kind) {
            (Some(keys), _) => keys.names.clone(),
            (None, Kind::Once) => {
                let gone = self.gone.swap(self.items.len(), Ordering::Relaxed);
                self.items.get(gone..).unwrap_or_default().to_vec()
            }
            _ => self.items.clone(),
        }
    }
}

#[derive(Debug)]
struct Keys {
    names: Vec<Value>,
    index: Option<HashMap<Value, usize>>,
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        match self.kind {
            Kind::Map => ObjectRepr::Map,
            _ if self.is_sequence() => ObjectRepr::Seq,
            _ => ObjectRepr::Plain,
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.kind == Kind::Once || !self.items.is_empty()
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = match &self.keys {
            None if !self.is_sequence() => return None,
            None if self.kind == Kind::Group && key.as_str().is_some() => match key.as_str()? {
                "grouper" => 0,
                "list" => 1,
                _ => return None,
            },
            None => key.as_usize()?,
            Some(Keys { index: Some(index), .. }) => *index.get(key)?,
            Some(keys) => keys.names.iter().position(|name| name == key)?,
        };
        self.items.get(at).cloned()
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match &self.keys {
            Some(keys) if keys.index.is_none() => {
                let at = keys.names.iter().position(|name| name.as_str() == Some(key))?;
                self.items.get(at).cloned()
            }
            _ => self.get_value(&Value::from(key)),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.keys {
            None if self.kind == Kind::Once => {
                let this = Arc::clone(self);
                Enumerator::Iter(Box::new(std::iter::from_fn(move || this.next())))
            }
            None if self.is_sequence() => Enumerator::Seq(self.items.len()),
            None => Enumerator::Values(self.items.clone()),
            Some(_) => self.mapped_key_value_enumerator(|this| {
                let names = this.keys.as_ref().map_or(&[][..], |keys| &keys.names);
                Box::new(names.iter().cloned().zip(this.items.iter().cloned()))
            }),
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        (self.kind != Kind::Once).then_some(self.items.len())
    }
}

/// How a method is called: the value that it belongs to, its name and its arguments.
pub(super) type Calling = fn(&State, &Value, &str, &[Value]) -> Result<Value, Error>;

/// A method that is not called yet. No list holds one: it would hold its value deeper than lists may be.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) of: Value,
    pub(super) name: String,
    pub(super) calling: Calling,
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        (self.calling)(state, &self.of, &self.name, args)
    }
}

/// What `namespace()` gives: the only value that can change.
#[derive(Debug, Default)]
pub(super) struct Space(Mutex<Vec<(Value, Value)>>);

impl Space {
    /// Sets a name. A namespace holds no other: the chain could lead back to it.
    pub(super) fn set(&self, name: &Value, value: Value) -> Result<(), Error> {
        let value = admit(value)?;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meter::work(1 + entries.len() as u64 / 8)?;
        let known = entries.iter().position(|(known, _)| known == name);
        match known.and_then(|at| entries.get_mut(at)) {
            Some(entry) => entry.1 = value,
            None => {
                if entries.len() >= NAMES {
                    return Err(meter::refuse(&format!("it gives a namespace more than {NAMES} names")));
                }
                entries.push((name.clone(), value));
            }
        }
        Ok(())
    }

    pub(super) fn entries(&self) -> Vec<(Value, Value)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Object for Space {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value.clone())
    }
}

/// A list of values.
///
/// # Errors
/// When it is too large or too deep.
pub fn list(items: Vec<Value>) -> Result<Value, Error> {
    build(Kind::List, None, items)
}

/// A list that stands for another value of Python than a list or map.
pub(super) fn sequence(kind: Kind, items: Vec<Value>) -> Result<Value, Error> {
    build(kind, None, items)
}

/// A map; of two equal keys the first has the place and the last the value.
///
/// # Errors
/// When it is too large or too deep.
pub fn map(pairs: Vec<(Value, Value)>) -> Result<Value, Error> {
    let (mut names, mut items): (Vec<Value>, Vec<Value>) =
        (Vec::with_capacity(pairs.len()), Vec::with_capacity(pairs.len()));
    let mut index: Option<HashMap<Value, usize>> = (pairs.len() > SEARCHED).then(HashMap::new);
    for (name, value) in pairs {
        meter::work(key_cost(&name)?)?;
        let known = match &mut index {
            Some(index) => {
                let at = *index.entry(name.clone()).or_insert(names.len());
                (at < names.len()).then_some(at)
            }
            None => names.iter().position(|one| *one == name),
        };
        match known {
            Some(at) => items[at] = value,
            None => {
                names.push(admit(name)?);
                items.push(value);
            }
        }
    }
    build(Kind::Map, Some(Keys { names, index }), items)
}

fn build(kind: Kind, keys: Option<Keys>, mut items: Vec<Value>) -> Result<Value, Error> {
    let mut size = Size { is_once: kind == Kind::Once, ..Size::default() };
    for item in &mut items {
        if item.as_object().is_some() {
            *item = admit(std::mem::take(item))?;
        }
        size.add(weigh(item)?);
    }
    for name in keys.iter().flat_map(|keys| &keys.names) {
        size.add(weigh(name)?);
        size.loose = size.loose.saturating_add(2 * SLOT);
    }
    size.depth += 1;
    if size.depth > DEPTH {
        return Err(meter::refuse(&format!("it nests lists and maps more than {DEPTH} deep")));
    }
    size.bytes = size.bytes.saturating_add(SLOT);
    size.loose = size.loose.saturating_add(3 * SLOT);
    meter::room(size.bytes)?;
    meter::work(1 + items.len() as u64 / 4)?;
    let watched = (size.loose > 8 * meter::SMALL).then(|| std::mem::take(&mut size.loose));
    let list = Arc::new(List { kind, keys, items, size, gone: AtomicUsize::new(0) });
    if let Some(bytes) = watched {
        meter::hold_list(&list, bytes)?;
    }
    Ok(Value::from_dyn_object(list))
}

impl Size {
    fn add(&mut self, item: Size) {
        self.bytes = self.bytes.saturating_add(item.bytes).saturating_add(SLOT);
        self.depth = self.depth.max(item.depth);
        self.is_once |= item.is_once;
        self.loose = self.loose.saturating_add(item.loose).saturating_add(SLOT);
    }
}

/// The size of a value.
pub(super) fn weigh(value: &Value) -> Result<Size, Error> {
    weigh_at(value, DEPTH)
}

fn weigh_at(value: &Value, levels: u32) -> Result<Size, Error> {
    if let Some(text) = value.as_str() {
        let bytes = text.len() as u64;
        return Ok(Size { bytes, depth: 0, loose: if bytes < meter::SMALL { bytes } else { 0 }, is_once: false });
    }
    let Some(object) = value.as_object() else { return Ok(Size { bytes: 8, ..Size::default() }) };
    if let Some(list) = value.downcast_object_ref::<List>() {
        return Ok(list.size);
    }
    if let Some(space) = value.downcast_object_ref::<Space>() {
        let mut size = Size::default();
        for (name, item) in space.entries() {
            size.add(weigh_at(&name, levels.saturating_sub(1))?);
            size.add(weigh_at(&item, levels.saturating_sub(1))?);
        }
        return Ok(size);
    }
    if levels == 0 {
        return Err(meter::refuse(&format!("it nests lists and maps more than {DEPTH} deep")));
    }
    // What the engine made: it holds what was made here, so this is short.
    let mut size = Size { bytes: 64, loose: 64, ..Size::default() };
    let pairs = if object.repr() == ObjectRepr::Plain { None } else { object.try_iter_pairs() };
    for (name, item) in pairs.into_iter().flatten() {
        meter::work(1)?;
        if object.repr() == ObjectRepr::Map {
            size.add(weigh_at(&name, levels - 1)?);
        }
        size.add(weigh_at(&item, levels - 1)?);
    }
    size.depth += 1;
    Ok(size)
}

/// What may be an item: plain values, lists and maps of this module, macros. What else can be iterated is copied.
fn admit(value: Value) -> Result<Value, Error> {
    let Some(object) = value.as_object() else { return Ok(value) };
    if value.downcast_object_ref::<List>().is_some() {
        return Ok(value);
    }
    if value.downcast_object_ref::<Space>().is_some() {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a namespace cannot be held by a list, a map or a namespace: one that holds itself is not here",
        ));
    }
    if let Some(method) = value.downcast_object_ref::<Method>() {
        let what = format!("the method {} cannot be held by a list, a map or a namespace: call it", method.name);
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    match object.repr() {
        ObjectRepr::Plain => Ok(value),
        _ if is_macro(&value) => Ok(value),
        _ => copy(&value, DEPTH),
    }
}

pub(super) fn is_macro(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Macro"))
}

pub(super) fn is_loop(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("::Loop"))
}

/// Takes what the engine or a caller made: lists and maps become those of this module, texts are watched.
pub(super) fn keep(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            if value.as_str().is_some_and(|text| text.len() as u64 >= meter::SMALL)
                && let Some(text) = value.to_str()
            {
                meter::room(text.len() as u64)?;
                meter::hold_text(&text)?;
            }
            Ok(value)
        }
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            let known = value.downcast_object_ref::<List>().is_some() || value.downcast_object_ref::<Space>().is_some();
            if known || is_macro(&value) { Ok(value) } else { copy(&value, DEPTH) }
        }
        _ => Ok(value),
    }
}

fn copy(value: &Value, levels: u32) -> Result<Value, Error> {
    let Some(object) = value.as_object().filter(|_| levels > 0) else {
        return Err(meter::refuse(&format!("it nests lists and maps more than {DEPTH} deep")));
    };
    let mut bytes = 0;
    let mut item = |value: Value| -> Result<Value, Error> {
        meter::work(1)?;
        bytes += SLOT;
        meter::room(bytes)?;
        match value.kind() {
            ValueKind::Invalid => Err(Error::new(ErrorKind::InvalidOperation, value.to_string())),
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if value.downcast_object_ref::<List>().is_none() => {
                if value.downcast_object_ref::<Space>().is_some() || is_macro(&value) {
                    admit(value)
                } else {
                    copy(&value, levels - 1)
                }
            }
            _ => keep(value),
        }
    };
    if object.repr() == ObjectRepr::Map {
        let mut pairs = Vec::new();
        for (name, value) in object.try_iter_pairs().into_iter().flatten() {
            pairs.push((item(name)?, item(value)?));
        }
        map(pairs)
    } else {
        let mut items = Vec::new();
        for value in object.try_iter().into_iter().flatten() {
            items.push(item(value)?);
        }
        list(items)
    }
}

/// The items of a value, as a loop sees them; nothing for what is undefined. Those of a generator are gone then.
pub(super) fn items(value: &Value) -> Result<Vec<Value>, Error> {
    if let Some(list) = value.downcast_object_ref::<List>() {
        meter::work(1 + list.items.len() as u64 / 4)?;
        return Ok(list.seen());
    }
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "none is not iterable"));
    }
    let mut found = Vec::new();
    let most = meter::largest() / SLOT;
    for item in value.try_iter()? {
        meter::work(1)?;
        if found.len() as u64 >= most {
            meter::room(u64::MAX)?;
        }
        found.push(item);
    }
    Ok(found)
}

/// The work of looking a key up: where keys are long, each may have to be compared.
pub(super) fn key_cost(key: &Value) -> Result<u64, Error> {
    let bytes = weigh(key)?.bytes;
    Ok(if bytes > 64 { bytes / 4 } else { 0 })
}

/// How many items a value has, without reading it.
pub(super) fn length(value: &Value) -> u64 {
    if let Some(list) = value.downcast_object_ref::<List>() {
        return list.items.len() as u64;
    }
    match value.as_str() {
        Some(text) => text.len() as u64,
        None => value.as_object().and_then(|object| object.enumerator_len()).unwrap_or(1) as u64,
    }
}
