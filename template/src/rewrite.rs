//! Owns how a parsed template becomes one that stays within bounds: whatever can grow or take time becomes a filter of
//! this module, each turn of a loop and each call of a macro pays for its steps, and what needs other files is gone.
//! Knows the tree that the engine parses; knows no value.
//!
//! The tree is also bounded: in depth, because everything that reads it recurses.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Value;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOpKind, Do, Expr, Filter, FilterBlock, ForLoop,
    GetAttr, GetItem, IfCond, IfExpr, List, Macro, Set, SetBlock, Spanned, Stmt, Template, Test, UnaryOp, UnaryOpKind,
    WithBlock,
};
use minijinja::machinery::{Span, Token, tokenize};
use minijinja::value::ValueKind;

use super::scope::{Scope, names_of};
use super::tree::{binary, constant, emit, filter, plain_block, span_of, variable};
use super::value::{self, Kind};
use super::{Dialect, GENERATION, checks, filters, methods, whitespace};

/// How deep expressions and blocks may be nested or chained.
const DEPTH: u32 = 400;
/// Names for what is assigned to a namespace on its way there.
const PARKED: [&str; 8] = ["__a", "__b", "__c", "__d", "__e", "__f", "__g", "__h"];
/// Lists of constants up to this length are compared by the engine.
const SHORT: u64 = 16;

/// What is wrong with a template, and whether it is a limit that it meets.
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) limit: bool,
}

/// Rewrites a template, and says which names it reads and sets nowhere.
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
            let undeclared = rewriter.used.difference(&rewriter.set).map(|&name| name.to_owned()).collect();
            Ok((Stmt::Template(Spanned::new(Template { children }, Span::default())), undeclared))
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
    /// Whether it marks what is generated.
    marks: bool,
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
    /// Names that are set somewhere.
    set: BTreeSet<&'a str>,
    /// Steps of the loop or macro that is being read.
    steps: u64,
    depth: u32,
    fault: Option<(String, u16, bool)>,
}

impl<'a> Rewriter<'a> {
    /// The statements of a block, after one that pays for `extra` and all their steps unless there is nothing to pay.
    fn block(&mut self, statements: &[Stmt<'a>], extra: u64) -> Vec<Stmt<'a>> {
        let mut all = Vec::with_capacity(statements.len() + 1);
        for one in statements {
            self.statement(one, &mut all);
        }
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
        let span = span_of(statement);
        if self.enter(span) {
            self.statement_inside(statement, span, all);
        }
        self.depth -= 1;
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
                self.set.insert("loop");
                let iter = filter("__each", self.expression(&one.iter), []);
                let target = self.target(&one.target);
                let scopes = std::mem::take(&mut self.scopes);
                self.recursive += u32::from(one.recursive);
                let given = names_of(&one.target).into_iter().chain(["loop"]).collect();
                let body = self.paid(given, &one.body);
                self.recursive -= u32::from(one.recursive);
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
                Stmt::ForLoop(Spanned::new(
                    ForLoop { target, iter, filter_expr, recursive: one.recursive, body, else_body },
                    span,
                ))
            }
            Stmt::IfCond(one) => self.framed(true, |this| {
                let expr = this.expression(&one.expr);
                let (true_body, false_body) = (this.block(&one.true_body, 0), this.block(&one.false_body, 0));
                Stmt::IfCond(Spanned::new(IfCond { expr, true_body, false_body }, span))
            }),
            Stmt::WithBlock(one) => {
                let given = one.assignments.iter().flat_map(|(target, _)| names_of(target)).collect();
                let (targets, values): (Vec<_>, Vec<_>) =
                    one.assignments.iter().map(|(name, value)| (self.target(name), self.expression(value))).unzip();
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
                let filter = self.framed(false, |this| this.expression(&one.filter));
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
        self.set.extend([one.name, "caller"]);
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
                self.set.insert(name.id);
                variable(name.id, name.span())
            }
            other => {
                self.fail("it assigns to what is no name".to_owned(), other.span());
                variable(PARKED[0], other.span())
            }
        }
    }

    fn expression(&mut self, expression: &Expr<'a>) -> Expr<'a> {
        let span = expression.span();
        let rewritten = if !self.enter(span) {
            constant(Value::UNDEFINED, span)
        } else if let Some(minus) = minus_inside(expression).filter(|minus| self.moved != Some(*minus)) {
            // `-a.b` is read as `(-a).b`, and means `-(a.b)`.
            let outside = self.moved.replace(minus);
            let inner = self.expression_inside(expression, span);
            self.moved = outside;
            filter("__negative", inner, [])
        } else {
            self.expression_inside(expression, span)
        };
        self.depth -= 1;
        rewritten
    }

    fn expression_inside(&mut self, expression: &Expr<'a>, span: Span) -> Expr<'a> {
        match expression {
            Expr::Var(name) => {
                self.used.insert(name.id);
                let depth = self.names.len();
                self.read.entry(name.id).and_modify(|deepest| *deepest = depth.max(*deepest)).or_insert(depth);
                variable(name.id, span)
            }
            Expr::Const(one) => constant(one.value.clone(), span),
            Expr::Slice(one) => {
                let mut part = |part: &Option<Expr<'a>>| {
                    part.as_ref().map_or_else(|| constant(Value::from(()), span), |part| self.expression(part))
                };
                let parts = [part(&one.start), part(&one.stop), part(&one.step)];
                filter("__slice", self.expression(&one.expr), parts)
            }
            Expr::UnaryOp(one) => {
                let expr = self.expression(&one.expr);
                let is_number = matches!(&expr, Expr::Const(number) if number.value.is_number());
                match one.op {
                    UnaryOpKind::Not => Expr::UnaryOp(Spanned::new(UnaryOp { op: UnaryOpKind::Not, expr }, span)),
                    UnaryOpKind::Neg if self.moved == Some(std::ptr::from_ref(expression)) => expr,
                    UnaryOpKind::Neg if is_number => {
                        Expr::UnaryOp(Spanned::new(UnaryOp { op: UnaryOpKind::Neg, expr }, span))
                    }
                    UnaryOpKind::Neg => filter("__negative", expr, []),
                }
            }
            Expr::BinOp(one) => self.binary(one, span),
            Expr::Compare(one) => self.compared(one, span),
            Expr::IfExpr(one) => self.framed(true, |this| {
                let (test_expr, true_expr) = (this.expression(&one.test_expr), this.expression(&one.true_expr));
                let false_expr = one.false_expr.as_ref().map(|other| this.expression(other));
                Expr::IfExpr(Spanned::new(IfExpr { test_expr, true_expr, false_expr }, span))
            }),
            Expr::Filter(one) => {
                self.known("filter", one.name, filters::is_known, span);
                let expr = one.expr.as_ref().map(|expr| self.expression(expr));
                Expr::Filter(Spanned::new(Filter { name: one.name, expr, args: self.arguments(&one.args) }, span))
            }
            Expr::Test(one) => {
                self.known("test", one.name, checks::is_known, span);
                let (expr, args) = (self.expression(&one.expr), self.arguments(&one.args));
                Expr::Test(Spanned::new(Test { name: one.name, expr, args }, span))
            }
            Expr::GetAttr(one) => {
                let expr = self.expression(&one.expr);
                let of_loop = matches!(&expr, Expr::Var(name) if name.id == "loop");
                if self.chat && !of_loop && methods::is_name(one.name) {
                    filter("__attribute", expr, [constant(Value::from(one.name), span)])
                } else {
                    Expr::GetAttr(Spanned::new(GetAttr { expr, name: one.name }, span))
                }
            }
            Expr::GetItem(one) => {
                let (expr, subscript_expr) = (self.expression(&one.expr), self.expression(&one.subscript_expr));
                let named = |name: &str| name.len() <= 64 && !(self.chat && methods::is_name(name));
                let near = matches!(&subscript_expr, Expr::Const(key)
                    if key.value.as_str().is_some_and(named) || key.value.as_usize().is_some_and(|at| at < 64));
                if near {
                    Expr::GetItem(Spanned::new(GetItem { expr, subscript_expr }, span))
                } else {
                    filter("__item", expr, [subscript_expr])
                }
            }
            Expr::Call(one) => Expr::Call(Spanned::new(self.call(one), span)),
            Expr::List(one) => {
                let items: Vec<Expr<'a>> = one.items.iter().map(|item| self.expression(item)).collect();
                self.literal(if self.is_tuple(one) { "__tuple" } else { "__list" }, items, span)
            }
            Expr::Map(one) => {
                let pairs = one.keys.iter().zip(&one.values);
                let parts = pairs.flat_map(|(key, value)| [self.expression(key), self.expression(value)]).collect();
                self.literal("__map", parts, span)
            }
        }
    }

    /// A list or map; of constants alone it is one constant.
    fn literal(&mut self, name: &'static str, parts: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
        let plain = |part: &Expr<'a>| match part {
            Expr::Const(one) => Some(one.value.clone()),
            _ => None,
        };
        if let Some(values) = parts.iter().map(plain).collect::<Option<Vec<Value>>>() {
            let made = match name {
                "__map" => value::map(values.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()),
                "__tuple" => value::sequence(Kind::Tuple, values),
                _ => value::list(values),
            };
            return match made {
                Ok(value) => constant(value, span),
                Err(error) => {
                    self.fail(error.detail().unwrap_or("a list is too large").to_owned(), span);
                    constant(Value::UNDEFINED, span)
                }
            };
        }
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_else(|| constant(Value::UNDEFINED, span));
        filter(name, first, parts)
    }

    /// Whether a list of the tree is a tuple: in parentheses, or without anything around it.
    fn is_tuple(&self, list: &Spanned<List<'a>>) -> bool {
        let start = list.span().start_offset;
        let opens = usize::try_from(start).ok().and_then(|start| self.source.as_bytes().get(start));
        self.chat && (opens == Some(&b'(') || list.items.first().is_some_and(|first| first.span().start_offset < start))
    }

    fn binary(&mut self, one: &Spanned<BinOp<'a>>, span: Span) -> Expr<'a> {
        use BinOpKind as Kind;
        match one.op {
            Kind::Concat => self.chain(one, "__join", |op| matches!(op, Kind::Concat)),
            Kind::Add => self.chain(one, "__add", |op| matches!(op, Kind::Add)),
            _ => {
                let (left, right) = (self.expression(&one.left), self.expression(&one.right));
                let constant = is_small(&left) || is_small(&right);
                let name = match one.op {
                    Kind::Sub => "__subtract",
                    Kind::Mul => "__multiply",
                    Kind::Div => "__divide",
                    Kind::FloorDiv => "__floor_divide",
                    Kind::Rem => "__remainder",
                    Kind::Pow => "__power",
                    Kind::Eq if !constant => "__eq",
                    Kind::Ne if !constant => "__ne",
                    Kind::Lt => "__lt",
                    Kind::Lte => "__le",
                    Kind::Gt => "__gt",
                    Kind::Gte => "__ge",
                    Kind::In if !is_short(&right) => "__in",
                    op => return binary(op, left, right, span),
                };
                filter(name, left, [right])
            }
        }
    }

    /// A chain of one operator as one filter of all its parts.
    fn chain(&mut self, one: &Spanned<BinOp<'a>>, name: &'static str, same: fn(BinOpKind) -> bool) -> Expr<'a> {
        let mut parts = vec![&one.right];
        let mut left = &one.left;
        while let Expr::BinOp(inner) = left {
            if !same(inner.op) {
                break;
            }
            parts.push(&inner.right);
            left = &inner.left;
        }
        let first = self.expression(left);
        let rest: Vec<Expr<'a>> = parts.into_iter().rev().map(|part| self.expression(part)).collect();
        filter(name, first, rest)
    }

    /// A chain of comparisons, which ends at the first that does not hold: what follows is not looked at.
    fn compared(&mut self, one: &Compare<'a>, span: Span) -> Expr<'a> {
        let mut left = Some(self.expression(&one.expr));
        let mut links = Vec::with_capacity(one.ops.len());
        for (at, op) in one.ops.iter().enumerate() {
            let right = self.expression(&op.expr);
            let sign = constant(Value::from(sign(op.op).to_string()), span);
            links.push(match left.take() {
                Some(left) => filter("__link", left, [sign, right]),
                None => filter("__next", right, [sign, constant(Value::from(at + 1 == one.ops.len()), span)]),
            });
        }
        all_of(links, span)
    }

    fn call(&mut self, one: &Call<'a>) -> Call<'a> {
        let mut args = self.arguments(&one.args);
        if matches!(&one.expr, Expr::Var(name) if self.defaulting.contains(name.id)) {
            args = args.into_iter().map(given).collect();
        }
        let expr = match &one.expr {
            Expr::GetAttr(method) => {
                // The two methods of a loop are the engine's own.
                if matches!(method.name, "changed" | "cycle") {
                    for arg in &mut args {
                        if let CallArg::Pos(value) = arg {
                            let span = value.span();
                            let value = std::mem::replace(value, constant(Value::UNDEFINED, span));
                            *arg = CallArg::Pos(filter("__read", value, []));
                        }
                    }
                }
                let expr = self.expression(&method.expr);
                Expr::GetAttr(Spanned::new(GetAttr { expr, name: method.name }, method.span()))
            }
            other => self.expression(other),
        };
        Call { expr, args }
    }

    fn arguments(&mut self, args: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
        let mut argument = |arg: &CallArg<'a>| match arg {
            CallArg::Pos(value) => CallArg::Pos(self.expression(value)),
            CallArg::Kwarg(name, value) => CallArg::Kwarg(name, self.expression(value)),
            CallArg::PosSplat(value) => CallArg::PosSplat(filter("__arguments", self.expression(value), [])),
            CallArg::KwargSplat(value) => CallArg::KwargSplat(filter("__arguments", self.expression(value), [])),
        };
        args.iter().map(&mut argument).collect()
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

/// An argument of a macro, told from one that is not given where it is undefined.
fn given(arg: CallArg<'_>) -> CallArg<'_> {
    match arg {
        CallArg::Pos(value) if !matches!(value, Expr::Const(_)) => CallArg::Pos(filter("__given", value, [])),
        CallArg::Kwarg(name, value) if !matches!(value, Expr::Const(_)) => {
            CallArg::Kwarg(name, filter("__given", value, []))
        }
        other => other,
    }
}

/// Whether all of these hold, asked from the first on; a tree that is as flat as can be.
fn all_of(mut links: Vec<Expr<'_>>, span: Span) -> Expr<'_> {
    let half = links.split_off(links.len() / 2);
    match (links.is_empty(), half) {
        (true, half) => half.into_iter().next().unwrap_or_else(|| constant(Value::from(true), span)),
        (false, half) => binary(BinOpKind::ScAnd, all_of(links, span), all_of(half, span), span),
    }
}

/// The minus under a chain of attributes, items and calls.
fn minus_inside<'a>(expression: &Expr<'a>) -> Option<*const Expr<'a>> {
    let mut inner = match expression {
        Expr::GetAttr(_) | Expr::GetItem(_) | Expr::Slice(_) | Expr::Call(_) => expression,
        _ => return None,
    };
    loop {
        inner = match inner {
            Expr::GetAttr(one) => &one.expr,
            Expr::GetItem(one) => &one.expr,
            Expr::Slice(one) => &one.expr,
            Expr::Call(one) => &one.expr,
            Expr::UnaryOp(one) if matches!(one.op, UnaryOpKind::Neg) => return Some(std::ptr::from_ref(inner)),
            _ => return None,
        };
    }
}

/// A short text, which is equal to nothing but the same text: the engine may compare it.
fn is_small(expression: &Expr<'_>) -> bool {
    matches!(expression, Expr::Const(one) if one.value.as_str().is_some_and(|text| text.len() <= 64))
}

/// A short list of such texts.
fn is_short(expression: &Expr<'_>) -> bool {
    let Expr::Const(one) = expression else { return false };
    one.value.as_object().is_some()
        && value::length(&one.value) <= SHORT
        && one.value.kind() == ValueKind::Seq
        && one.value.try_iter().is_ok_and(|mut items| items.all(|item| item.as_str().is_some()))
}

fn sign(op: CompareOpKind) -> char {
    match op {
        CompareOpKind::Eq => '=',
        CompareOpKind::Ne => '!',
        CompareOpKind::Lt => '<',
        CompareOpKind::Lte => 'l',
        CompareOpKind::Gt => '>',
        CompareOpKind::Gte => 'g',
        CompareOpKind::In => 'i',
        CompareOpKind::NotIn => 'n',
    }
}
