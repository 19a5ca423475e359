//! Owns how a parsed template becomes one that stays within bounds: whatever can grow or take time becomes a filter of
//! this module, each turn of a loop and each call of a macro pays for its steps, and what needs other files is gone.
//! Knows the tree that the engine parses; knows no value.
//!
//! The tree is also bounded: in depth, because everything that reads it recurses.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Value;
use minijinja::machinery::ast::{
    BinOpKind, CallBlock, Do, Expr, FilterBlock, ForLoop, IfCond, List, Macro, Set, SetBlock, Spanned, Stmt, Template,
    Test, WithBlock,
};
use minijinja::machinery::{Span, Token, tokenize};

use super::scope::{Scope, names_of};
use super::tree::{binary, constant, emit, filter, plain_block, span_of, variable};
use super::{Dialect, GENERATION, whitespace};

mod expressions;

/// How deep expressions and blocks may be nested or chained.
const DEPTH: u32 = 400;
/// Names for what is assigned to a namespace on its way there.
const PARKED: [&str; 8] = ["__a", "__b", "__c", "__d", "__e", "__f", "__g", "__h"];

/// What is wrong with a template, and whether it is a limit that it meets.
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) limit: bool,
}

/// Rewrites a template, and says which names it reads from outside, in order.
///
/// # Errors
/// What of it is too deep, or not in the dialect.
pub(super) fn rewrite<'a>(
    template: &Stmt<'a>,
    source: &'a str,
    dialect: Dialect,
) -> Result<(Stmt<'a>, Vec<String>), Fault> {
    let defaulting = defaulting(source, dialect);
    let (chat, marks) = (dialect == Dialect::Chat, source.contains(GENERATION));
    let mut rewriter = Rewriter { source, chat, marks, defaulting, ..Rewriter::default() };
    let children = match template {
        Stmt::Template(template) => rewriter.frame(Scope::of([], &[], &template.children), &template.children, 0),
        _ => Vec::new(),
    };
    match rewriter.fault {
        None => {
            let outside = rewriter.outside.into_iter().map(str::to_owned).collect();
            Ok((Stmt::Template(Spanned::new(Template { children }, Span::default())), outside))
        }
        Some((what, line, limit)) => Err(Fault { what: format!("{what} (line {line} of the template)"), limit }),
    }
}

#[derive(Default)]
struct Rewriter<'a> {
    source: &'a str,
    /// Whether it is a chat template, which is what Jinja2 makes of it; a prompt keeps what the engine makes of it.
    chat: bool,
    /// Inside a condition: there Jinja2 looks a filter or test up only when it is used.
    soft: bool,
    /// Blocks with a scope between the innermost loop and here.
    scopes: u32,
    /// The minus that is taken out of an expression to stand before it.
    moved: Option<*const Expr<'a>>,
    /// Whether the filter that is read next is asked for one item.
    for_one: bool,
    /// Whether it marks what is generated.
    marks: bool,
    /// Whether the innermost loop breaks or continues.
    left: bool,
    /// Loops that call themselves, around here.
    recursive: u32,
    /// Macros that have defaults.
    defaulting: BTreeSet<&'a str>,
    /// The names of the blocks around here, the outermost first.
    names: Vec<BTreeSet<&'a str>>,
    /// How deep in such blocks each name is read.
    read: BTreeMap<&'a str, usize>,
    /// Names that are read.
    used: BTreeSet<&'a str>,
    /// Names that are read where nothing before has surely set them.
    outside: BTreeSet<&'a str>,
    /// Names that are set here, and the order in which they were, by which the end of a block forgets its own.
    set: BTreeSet<&'a str>,
    order: Vec<&'a str>,
    /// Steps of the loop or macro that is being read.
    steps: u64,
    depth: u32,
    fault: Option<(String, u16, bool)>,
}

impl<'a> Rewriter<'a> {
    /// The statements of a block, after one that pays for `extra` and all their steps unless there is nothing to pay.
    fn block(&mut self, statements: &[Stmt<'a>], extra: u64) -> Vec<Stmt<'a>> {
        let mut all = Vec::with_capacity(statements.len() + 1);
        let outside = self.order.len();
        for one in statements {
            self.statement(one, &mut all);
        }
        self.forget(outside);
        if extra > 0 {
            let steps = constant(Value::from(self.steps + extra), Span::default());
            all.insert(0, emit(filter("__steps", steps, []), Span::default()));
        }
        all
    }

    /// A block that pays for itself each time it is run.
    fn paid(&mut self, given: Vec<&'a str>, statements: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
        let outside = std::mem::take(&mut self.steps);
        let block = self.frame(Scope::of(given, &[], statements), statements, 2);
        self.steps = outside;
        block
    }

    /// A block with names of its own. What it sets first is undefined before, and says so where a block inside could find
    /// another meaning of the name.
    fn frame(&mut self, scope: Scope<'a>, statements: &[Stmt<'a>], extra: u64) -> Vec<Stmt<'a>> {
        let is_new = |name: &&'a str| !self.names.iter().any(|outer| outer.contains(name));
        let own: Vec<&'a str> = scope.own.into_iter().filter(is_new).collect();
        self.names.push(scope.names);
        let mut block = self.framed(false, |this| this.block(statements, extra));
        let depth = self.names.len();
        self.names.pop();
        let inside = |name: &&'a str| self.chat && self.read.get(name).is_some_and(|deepest| *deepest > depth);
        let unset = |name| {
            let (target, expr) = (variable(name, Span::default()), constant(Value::UNDEFINED, Span::default()));
            Stmt::Set(Spanned::new(Set { target, expr }, Span::default()))
        };
        block.splice(0..0, own.into_iter().filter(inside).map(unset));
        block
    }

    /// Reads what belongs to a block inside this one.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        self.names.push(BTreeSet::new());
        let read = read(self);
        self.names.pop();
        read
    }

    fn enter(&mut self, span: Span) -> bool {
        self.steps += 1;
        self.depth += 1;
        if self.depth > DEPTH {
            self.fail(format!("it nests or chains expressions or blocks more than {DEPTH} deep"), span);
        }
        self.fault.is_none()
    }

    fn fail(&mut self, what: String, span: Span) {
        self.fault.get_or_insert((what, span.start_line, true));
    }

    /// Refuses what is no fault of size.
    fn refuse(&mut self, what: String, span: Span) {
        self.fault.get_or_insert((what, span.start_line, false));
    }

    /// Reads what stands in a condition, or in a frame of its own.
    fn framed<T>(&mut self, soft: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        let outside = std::mem::replace(&mut self.soft, soft);
        let read = read(self);
        self.soft = outside;
        read
    }

    /// Reads a block that has a scope: what it sets is unknown behind it.
    fn scoped(&mut self, given: Vec<&'a str>, statements: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
        self.scopes += 1;
        let block = self.frame(Scope::of(given, &[], statements), statements, 0);
        self.scopes -= 1;
        block
    }

    /// The body of a block whose text is caught; Jinja2 gives it a scope.
    fn caught(&mut self, statements: &[Stmt<'a>], span: Span) -> Vec<Stmt<'a>> {
        let mut body = self.scoped(Vec::new(), statements);
        self.catch(&mut body);
        if self.chat { vec![plain_block(body, span)] } else { body }
    }

    /// Says around a body that its text is caught, where that matters.
    fn catch(&self, body: &mut Vec<Stmt<'a>>) {
        if self.marks {
            let says =
                |begins| emit(filter("__catch", constant(Value::from(begins), Span::default()), []), Span::default());
            body.insert(0, says(true));
            body.push(says(false));
        }
    }

    /// Leaving a loop from inside a scope would leave the scope open in the engine.
    fn leaves(&mut self, name: &str, span: Span) {
        self.left = true;
        if self.scopes > 0 {
            self.refuse(format!("{name} inside a block of a loop (with, set, filter, generation) is not here"), span);
        }
    }

    /// Jinja2 refuses a template that names what it does not have, unless it stands in a condition.
    fn known(&mut self, what: &str, name: &str, is_known: fn(&str) -> bool, span: Span) {
        if self.chat && !self.soft && !name.starts_with("__") && !is_known(name) {
            self.refuse(format!("no {what} named {name:?}"), span);
        }
    }

    fn statement(&mut self, statement: &Stmt<'a>, all: &mut Vec<Stmt<'a>>) {
        let (span, outside) = (span_of(statement), self.order.len());
        if self.enter(span) {
            self.statement_inside(statement, span, all);
        }
        self.depth -= 1;
        if !matches!(statement, Stmt::Set(_) | Stmt::SetBlock(_)) {
            self.forget(outside);
        }
        if let Stmt::Macro(one) = statement {
            self.sets(one.name);
        }
    }

    /// From here on the name is the template's own, until the block ends.
    fn sets(&mut self, name: &'a str) {
        if self.set.insert(name) {
            self.order.push(name);
        }
    }

    /// What was set since there were so many names is the template's own no more.
    fn forget(&mut self, outside: usize) {
        for name in self.order.drain(outside..) {
            self.set.remove(name);
        }
    }

    fn statement_inside(&mut self, statement: &Stmt<'a>, span: Span, all: &mut Vec<Stmt<'a>>) {
        let missing = |what: &str| {
            let what = constant(Value::from(format!("a template has no {what}")), span);
            emit(filter("__refuse", what, []), span)
        };
        let rewritten = match statement {
            Stmt::Template(_) => return,
            // As an expression it passes the formatter, which counts what is written.
            Stmt::EmitRaw(raw) => emit(constant(Value::from(raw.raw), span), span),
            Stmt::EmitExpr(one) => emit(self.expression(&one.expr), span),
            Stmt::ForLoop(one) => {
                let iter = filter("__each", self.expression(&one.iter), []);
                self.sets("loop");
                let target = self.target(&one.target);
                let scopes = std::mem::take(&mut self.scopes);
                self.recursive += u32::from(one.recursive);
                let left = std::mem::take(&mut self.left);
                let given = names_of(&one.target).into_iter().chain(["loop"]).collect();
                let body = self.paid(given, &one.body);
                self.recursive -= u32::from(one.recursive);
                let counts = std::mem::replace(&mut self.left, left) && self.chat && !one.else_body.is_empty();
                if counts && one.recursive {
                    self.refuse("else of a recursive loop that breaks or continues is not here".to_owned(), span);
                }
                self.scopes = scopes;
                let filter_expr = one.filter_expr.as_ref().map(|condition| {
                    let outside = std::mem::take(&mut self.steps);
                    let condition = self.inside(|this| this.expression(condition));
                    let steps = constant(Value::from(std::mem::replace(&mut self.steps, outside) + 4), span);
                    // Paying gives an empty text, which is false.
                    binary(BinOpKind::ScOr, filter("__steps", steps, []), condition, span)
                });
                let scope = Scope::of([], &[], &one.else_body);
                let else_body = if self.chat && scope.sets {
                    vec![plain_block(self.scoped(Vec::new(), &one.else_body), span)]
                } else {
                    self.frame(scope, &one.else_body, 0)
                };
                let recursive = one.recursive;
                let plain = |body, else_body| {
                    let all = ForLoop { target, iter, filter_expr, recursive, body, else_body };
                    Stmt::ForLoop(Spanned::new(all, span))
                };
                if counts {
                    // Jinja2 runs `else` unless one turn came to its end.
                    let turns = |says: &'static str| filter("__turns", constant(Value::from(says), span), []);
                    let mut body = body;
                    body.push(emit(turns("ended"), span));
                    all.extend([emit(turns("begin"), span), plain(body, Vec::new())]);
                    let none_ended = IfCond { expr: turns("none"), true_body: else_body, false_body: Vec::new() };
                    Stmt::IfCond(Spanned::new(none_ended, span))
                } else {
                    plain(body, else_body)
                }
            }
            Stmt::IfCond(one) => self.framed(true, |this| {
                let expr = this.expression(&one.expr);
                let (true_body, false_body) = (this.block(&one.true_body, 0), this.block(&one.false_body, 0));
                Stmt::IfCond(Spanned::new(IfCond { expr, true_body, false_body }, span))
            }),
            Stmt::WithBlock(one) => {
                let given = one.assignments.iter().flat_map(|(target, _)| names_of(target)).collect();
                let values: Vec<_> = one.assignments.iter().map(|(_, value)| self.expression(value)).collect();
                let targets: Vec<_> = one.assignments.iter().map(|(name, _)| self.target(name)).collect();
                let assignments = if self.chat && values.len() > 1 {
                    // No value sees the names of the others.
                    let list = |items| Expr::List(Spanned::new(List { items }, span));
                    vec![(list(targets), list(values))]
                } else {
                    targets.into_iter().zip(values).collect()
                };
                Stmt::WithBlock(Spanned::new(WithBlock { assignments, body: self.scoped(given, &one.body) }, span))
            }
            Stmt::Set(one) => return self.assign(one, span, all),
            Stmt::SetBlock(one) => return self.set_block(one, span, all),
            Stmt::AutoEscape(one) => {
                if one.enabled.as_const().is_some_and(|enabled| !enabled.is_true()) {
                    plain_block(self.scoped(Vec::new(), &one.body), span)
                } else {
                    missing("escaping")
                }
            }
            Stmt::FilterBlock(one) => {
                let generates = matches!(&one.filter, Expr::Filter(one) if one.name == GENERATION);
                if generates && self.recursive > 0 {
                    self.refuse("a generation block in a recursive loop is not here".to_owned(), span);
                }
                let mut filter = self.framed(false, |this| this.expression(&one.filter));
                if self.chat && !generates {
                    filter = super::tree::filter("__text", filter, []);
                }
                let body = self.caught(&one.body, span);
                Stmt::FilterBlock(Spanned::new(FilterBlock { filter, body }, span))
            }
            // Nothing can extend the template, so a block is what it holds.
            Stmt::Block(one) => {
                if self.chat && self.names.len() > 1 {
                    self.refuse("a block inside a loop, a macro or another block is not here".to_owned(), span);
                }
                plain_block(self.scoped(Vec::new(), &one.body), span)
            }
            Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => missing("other files"),
            Stmt::Macro(one) => {
                let one = self.macro_of(one, all, span);
                Stmt::Macro(Spanned::new(one, span))
            }
            Stmt::CallBlock(one) => {
                let macro_decl = Spanned::new(self.macro_of(&one.macro_decl, all, span), one.macro_decl.span());
                let call = Spanned::new(self.call(&one.call), one.call.span());
                Stmt::CallBlock(Spanned::new(CallBlock { call, macro_decl }, span))
            }
            Stmt::Continue(_) => {
                self.leaves("continue", span);
                Stmt::Continue(Spanned::new(minijinja::machinery::ast::Continue, span))
            }
            Stmt::Break(_) => {
                self.leaves("break", span);
                Stmt::Break(Spanned::new(minijinja::machinery::ast::Break, span))
            }
            Stmt::Do(one) => {
                if self.chat {
                    self.refuse("Encountered unknown tag 'do'".to_owned(), span);
                }
                let call = Spanned::new(self.call(&one.call), one.call.span());
                Stmt::Do(Spanned::new(Do { call }, span))
            }
        };
        all.push(rewritten);
    }

    /// A macro; a statement before it pays for its definition, one inside for each call.
    fn macro_of(&mut self, one: &Macro<'a>, all: &mut Vec<Stmt<'a>>, span: Span) -> Macro<'a> {
        [one.name, "caller", "varargs", "kwargs"].into_iter().for_each(|name| self.sets(name));
        let args: Vec<Expr<'a>> = one.args.iter().map(|arg| self.target(arg)).collect();
        let used = std::mem::take(&mut self.used);
        let outside = std::mem::take(&mut self.steps);
        let scopes = std::mem::take(&mut self.scopes);
        let given = self.inside(|this| this.given(one));
        let names = one.args.iter().flat_map(names_of).chain(["caller"]);
        let mut body = self.frame(Scope::of(names, &one.defaults, &one.body), &one.body, 4);
        // Behind the statement that pays.
        let at = body.len().min(1);
        body.splice(at..at, given);
        self.catch(&mut body);
        self.scopes = scopes;
        let steps = std::mem::replace(&mut self.steps, outside);
        if self.chat {
            let others = ["varargs", "kwargs"].into_iter().find(|name| self.used.contains(name));
            let is_argument = |name: &str| args.iter().any(|arg| matches!(arg, Expr::Var(arg) if arg.id == name));
            if let Some(name) = others.filter(|name| !is_argument(name)) {
                self.refuse(format!("{name}, the other arguments of a macro, are not here"), span);
            }
        }
        self.used.extend(used);
        all.push(emit(filter("__defines", constant(Value::from(steps), span), []), span));
        Macro { name: one.name, args, defaults: Vec::new(), body }
    }

    /// What a macro with defaults begins with. A default stands for what is not given, which is something else than what
    /// is given and undefined, and it may name an argument before it.
    fn given(&mut self, one: &Macro<'a>) -> Vec<Stmt<'a>> {
        if !self.defaulting.contains(one.name) {
            return Vec::new();
        }
        let required = one.args.len() - one.defaults.len();
        let mut all = Vec::with_capacity(one.args.len());
        for (at, arg) in one.args.iter().enumerate() {
            let Expr::Var(name) = arg else { continue };
            let span = name.span();
            let read = || variable(name.id, span);
            let set = |expr| Stmt::Set(Spanned::new(Set { target: read(), expr }, span));
            let taken = set(filter("__taken", read(), []));
            let default = at.checked_sub(required).and_then(|at| one.defaults.get(at));
            all.push(match default {
                None => taken,
                Some(default) => {
                    let default = set(self.expression(default));
                    let expr =
                        Expr::Test(Spanned::new(Test { name: "undefined", expr: read(), args: Vec::new() }, span));
                    Stmt::IfCond(Spanned::new(IfCond { expr, true_body: vec![default], false_body: vec![taken] }, span))
                }
            });
        }
        all
    }

    fn assign(&mut self, one: &Set<'a>, span: Span, all: &mut Vec<Stmt<'a>>) {
        let value = self.expression(&one.expr);
        if let Expr::GetAttr(place) = &one.target {
            let space = self.expression(&place.expr);
            return all.push(emit(filter("__set", space, [constant(Value::from(place.name), span), value]), span));
        }
        let mut parked = Vec::new();
        let target = self.parking_target(&one.target, &mut parked);
        all.push(Stmt::Set(Spanned::new(Set { target, expr: value }, span)));
        all.extend(parked);
    }

    fn set_block(&mut self, one: &SetBlock<'a>, span: Span, all: &mut Vec<Stmt<'a>>) {
        let filter = self.framed(false, |this| one.filter.as_ref().map(|filter| this.expression(filter)));
        let body = self.caught(&one.body, span);
        let mut parked = Vec::new();
        let target = self.parking_target(&one.target, &mut parked);
        all.push(Stmt::SetBlock(Spanned::new(SetBlock { target, filter, body }, span)));
        all.extend(parked);
    }

    /// A target without names of namespaces: those get their value from a variable by a statement that follows.
    fn parking_target(&mut self, target: &Expr<'a>, parked: &mut Vec<Stmt<'a>>) -> Expr<'a> {
        match target {
            Expr::List(list) => {
                let items = list.items.iter().map(|item| self.parking_target(item, parked)).collect();
                Expr::List(Spanned::new(List { items }, list.span()))
            }
            Expr::GetAttr(place) => {
                let span = place.span();
                let Some(&name) = PARKED.get(parked.len()) else {
                    self.fail(format!("it sets more than {} names of namespaces at once", PARKED.len()), span);
                    return variable(PARKED[0], span);
                };
                let space = self.expression(&place.expr);
                let place = constant(Value::from(place.name), span);
                parked.push(emit(filter("__set", space, [place, variable(name, span)]), span));
                variable(name, span)
            }
            other => self.target(other),
        }
    }

    /// A target of plain names.
    fn target(&mut self, target: &Expr<'a>) -> Expr<'a> {
        self.steps += 1;
        match target {
            Expr::List(list) => {
                let items = list.items.iter().map(|item| self.target(item)).collect();
                Expr::List(Spanned::new(List { items }, list.span()))
            }
            Expr::Var(name) => {
                self.sets(name.id);
                variable(name.id, name.span())
            }
            other => {
                self.fail("it assigns to what is no name".to_owned(), other.span());
                variable(PARKED[0], other.span())
            }
        }
    }
}

/// The macros of a template, and `caller`, where they may have defaults.
fn defaulting(source: &str, dialect: Dialect) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let (mut before, mut named) = ([None, None], None);
    for (token, _) in tokenize(source, false, Default::default(), whitespace(dialect)).map_while(Result::ok) {
        match (&token, before) {
            (Token::Ident(name), [Some("{"), Some("macro")]) => named = Some(*name),
            (Token::ParenOpen, [Some("{"), Some("call")]) => named = Some("caller"),
            (Token::BlockEnd, _) => named = None,
            (Token::Assign, _) => found.extend(named),
            _ => {}
        }
        let word = match token {
            Token::BlockStart => Some("{"),
            Token::Ident(name) => Some(name),
            _ => None,
        };
        before = [before[1], word];
    }
    found
}
