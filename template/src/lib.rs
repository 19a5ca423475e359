//! Owns templates of strangers: they are read, rewritten and run so that none can take more time, memory or stack than
//! what it renders justifies. Knows no message and no model; the words and functions of a chat template come from its
//! caller.
//!
//! A template can be refused, when it is read or when it runs. Three things make sure of it: what the engine would do in
//! one step without a bound is ours ([`operators`], [`filters`], [`growth`]), every value knows its size ([`value`]),
//! and everything pays for its work ([`meter`]).
//!
//! Chat templates are written for Jinja2, and what they write is what a model learnt. So values are written, compared and
//! counted as Python does it ([`show`], [`order`], [`number`], [`percent`]), filters, tests and methods are those of Jinja2
//! ([`filters`], [`listing`], [`checks`], [`methods`]), and what is not here is refused by its name.
#![warn(missing_docs)]

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::functions::Function;
use minijinja::machinery::{
    CodeGenerator, Instructions, Token, Vm, WhitespaceConfig, make_string_output, parse, tokenize,
};
use minijinja::value::{FunctionArgs, FunctionResult};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use ground::panics;

mod braces;
mod checks;
mod filters;
mod globals;
mod growth;
mod json;
mod letters;
mod listing;
mod marks;
mod meter;
mod methods;
mod number;
mod operators;
mod order;
mod percent;
mod rewrite;
mod scope;
mod show;
mod source;
mod tree;
mod value;
mod words;
mod written;

pub use json::to_json;
pub use meter::Input;
pub use value::{list, map};

/// The longest template. The longest of a known model has some 30 kB.
const SOURCE_BYTES: usize = 256 << 10;
/// The most words and signs between `{{` and `}}` or `{%` and `%}`.
const TAG_TOKENS: usize = 16_384;
/// The longest name.
const NAME_BYTES: usize = 256;
/// How deep calls of macros and loops may be nested while it runs; a macro counts as some six.
const RECURSION: usize = 240;
/// How many letters of an error's words are kept: a template can name things at length.
const WORDS: usize = 1000;
/// The filter of a block whose place in the text is asked for: `{% generation %}` as `{% filter __generation %}`.
pub const GENERATION: &str = "__generation";
/// Why the places of generated text are not told.
const MOVED: &str = "a generation block stands in text that a macro, call, set or filter block catches, and its text is \
                     written elsewhere than transformers marks it: such marks are not here";
/// The name of the only template.
const NAME: &str = "template";

/// Which Jinja a template is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// As transformers runs chat templates: block tags take their line, what is undefined is empty, texts have the
    /// methods of Python.
    Chat,
    /// As prompts are written: what is undefined is an error.
    Prompt,
}

/// Why a template is not read, or does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    what: String,
    limit: bool,
}

impl Refused {
    /// Whether a limit was met; else the template is wrong or refuses itself.
    #[must_use]
    pub fn met_a_limit(&self) -> bool {
        self.limit
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)?;
        if self.limit {
            out.write_str(
                "\nhint: the fault is in the template, not in what it renders: no known one comes near this limit; take \
                 the template of the model's author",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

impl From<&Error> for Refused {
    /// The message of the innermost cause, with the line of the template.
    fn from(error: &Error) -> Self {
        let mut innermost = error;
        while let Some(cause) = std::error::Error::source(innermost).and_then(|cause| cause.downcast_ref::<Error>()) {
            innermost = cause;
        }
        let mut what = match innermost.detail() {
            Some(detail) if innermost.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
            Some(detail) => format!("{}: {detail}", innermost.kind()),
            None => innermost.kind().to_string(),
        };
        if let Some((end, _)) = what.char_indices().nth(WORDS) {
            what.replace_range(end.., "...");
        }
        if let Some(line) = innermost.line().or_else(|| error.line()) {
            what.push_str(&format!(" (line {line} of the template)"));
        }
        Self { what, limit: false }
    }
}

/// A template that was read.
#[derive(Clone)]
pub struct Template {
    environment: Environment<'static>,
    program: Arc<Program>,
}

struct Program {
    instructions: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
    read: Vec<String>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where it is no Jinja, or too long or too deep to be read.
    pub fn new(source: &str, dialect: Dialect) -> Result<Self, Refused> {
        check_size(source, dialect)?;
        let source = match dialect {
            Dialect::Chat => interned(&source::rewritten(source)),
            Dialect::Prompt => interned(source),
        };
        // The parser, the generator and the tree's end recurse as deep as the tree is.
        let program = panics::caught_with_stack(|| meter::within(Input::default(), || compile(source, dialect)).0);
        let program = program.unwrap_or_else(|panic| Err(broken(&panic)))?;
        // What Jinja2 does not have, chat templates do not have here.
        let mut environment = if dialect == Dialect::Chat { Environment::empty() } else { Environment::new() };
        environment.set_recursion_limit(RECURSION);
        environment.set_debug(false);
        environment.set_formatter(write);
        match dialect {
            Dialect::Chat => environment.set_unknown_method_callback(methods::call),
            Dialect::Prompt => environment.set_undefined_behavior(UndefinedBehavior::Strict),
        }
        operators::add_to(&mut environment);
        filters::add_to(&mut environment, dialect);
        checks::add_to(&mut environment, dialect);
        Ok(Self { environment, program: Arc::new(program) })
    }

    /// Gives the template a function. It must not give a value that is much larger than its arguments.
    #[must_use]
    pub fn with_function<F, Rv, Args>(mut self, name: &'static str, function: F) -> Self
    where
        F: Function<Rv, Args>,
        Rv: FunctionResult,
        Args: for<'a> FunctionArgs<'a>,
    {
        self.environment.add_function(name, function);
        self
    }

    /// Gives the template a filter, with the same condition.
    #[must_use]
    pub fn with_filter<F, Rv, Args>(mut self, name: &'static str, filter: F) -> Self
    where
        F: Function<Rv, Args>,
        Rv: FunctionResult,
        Args: for<'a> FunctionArgs<'a>,
    {
        self.environment.add_filter(name, filter);
        self
    }

    /// The names that it reads from outside, in order: somewhere, before it has surely set them itself.
    #[must_use]
    pub fn reads(&self) -> &[String] {
        &self.program.read
    }

    /// Writes the template with these variables.
    ///
    /// # Errors
    /// Where it refuses itself, does what cannot be done, or meets a limit, which follow from `input`.
    pub fn render(
        &self,
        input: Input,
        variables: impl FnOnce() -> Result<Vec<(Value, Value)>, Error>,
    ) -> Result<String, Refused> {
        self.render_marked(input, variables).map(|(text, _)| text)
    }

    /// The text, and where what its [`GENERATION`] blocks wrote stands in it.
    ///
    /// # Errors
    /// As [`Self::render`], and where the text of a block stands elsewhere than transformers says.
    pub fn render_marked(
        &self,
        input: Input,
        variables: impl FnOnce() -> Result<Vec<(Value, Value)>, Error>,
    ) -> Result<(String, Vec<Range<usize>>), Refused> {
        let (result, limit) = meter::within(input, || panics::caught(|| self.run(variables)));
        match result {
            Ok(Ok(text)) if !limit => match marks::places(&text) {
                Some(places) => Ok((text, places)),
                None => Err(Refused { what: MOVED.to_owned(), limit }),
            },
            Ok(Ok(_)) => Err(Refused { what: "it went on after a limit".to_owned(), limit }),
            Ok(Err(error)) => Err(Refused { limit, ..Refused::from(&error) }),
            Err(panic) => Err(broken(&panic)),
        }
    }

    fn run(&self, variables: impl FnOnce() -> Result<Vec<(Value, Value)>, Error>) -> Result<String, Error> {
        operators::begin();
        marks::begin();
        let mut text = String::new();
        let root = value::map(variables()?)?;
        let Program { instructions, blocks, .. } = &*self.program;
        Vm::new(&self.environment).eval(
            instructions,
            root,
            blocks,
            &mut make_string_output(&mut text),
            AutoEscape::None,
        )?;
        Ok(text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Template").field("read", &self.program.read).finish_non_exhaustive()
    }
}

/// Pays for a text that a filter or function of the caller makes.
///
/// # Errors
/// When the template may not take so much.
pub fn pay_for(bytes: usize) -> Result<(), Error> {
    meter::room(bytes as u64)?;
    meter::read(bytes as u64)
}

/// A value as text.
///
/// # Errors
/// When the template may not take so much.
pub fn written(value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    written::print(value, &mut text)?;
    Ok(text)
}

fn broken(panic: &str) -> Refused {
    let panic: String = panic.chars().take(200).collect();
    Refused { what: format!("the template breaks the engine: {panic}"), limit: false }
}

/// How blocks are read.
fn whitespace(dialect: Dialect) -> WhitespaceConfig {
    let chat = dialect == Dialect::Chat;
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: chat, trim_blocks: chat }
}

fn check_size(source: &str, dialect: Dialect) -> Result<(), Refused> {
    let refused = |what: String| Err(Refused { what, limit: true });
    if source.len() > SOURCE_BYTES {
        return refused(format!("it has {} bytes, the limit is {SOURCE_BYTES}", source.len()));
    }
    let mut in_tag = 0;
    // What is wrong with a sign is said by the parser.
    for (token, span) in tokenize(source, false, Default::default(), whitespace(dialect)).map_while(Result::ok) {
        in_tag = match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => 0,
            Token::Ident(name) if name.len() > NAME_BYTES => {
                return refused(format!(
                    "it has a name of more than {NAME_BYTES} letters (line {} of the template)",
                    span.start_line
                ));
            }
            _ => in_tag + 1,
        };
        if in_tag > TAG_TOKENS {
            return refused(format!(
                "it has more than {TAG_TOKENS} words and signs in one tag (line {} of the template)",
                span.start_line
            ));
        }
    }
    Ok(())
}

fn compile(source: &'static str, dialect: Dialect) -> Result<Program, Refused> {
    let odd = if dialect == Dialect::Chat { words::odd(source) } else { None };
    let named = match odd {
        Some(words::Odd::Chained(what)) => return Err(Refused { what, limit: false }),
        Some(words::Odd::Name(what)) => Some(Refused { what, limit: false }),
        None => None,
    };
    let parsed = parse(source, NAME, Default::default(), whitespace(dialect));
    let parsed = parsed.map_err(|error| named.unwrap_or_else(|| Refused::from(&error)))?;
    let rewritten = rewrite::rewrite(&parsed, source, dialect);
    let (tree, read) = rewritten.map_err(|rewrite::Fault { what, limit }| Refused { what, limit })?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&tree);
    let (instructions, blocks) = generator.finish();
    Ok(Program { instructions, blocks, read })
}

/// Instructions borrow their source. A process reads few templates, and keeps the text of each once.
fn interned(source: &str) -> &'static str {
    static SOURCES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sources.get_or_insert_default();
    if let Some(source) = known.get(source) {
        return source;
    }
    let source: &'static str = Box::leak(source.into());
    known.insert(source);
    source
}

/// The formatter: everything that a template writes passes it, captured text too.
fn write(out: &mut Output<'_>, _: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        meter::write(text.len() as u64)?;
        marks::write(text.len());
        return out.write_str(text).map_err(Error::from);
    }
    let mut bounded = meter::Bounded::new(out);
    let result = written::write(value, &mut bounded)?;
    let bytes = bounded.done(result)?;
    marks::write(usize::try_from(bytes).unwrap_or(usize::MAX));
    meter::write(bytes)
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
