//! Owns which names a block of Jinja2 takes for its own. There a name that a block first sets, outside a condition, is its
//! own from its first line on: a loop or macro inside that reads it before it is set finds nothing, whatever the name
//! means outside. Knows the tree that the engine parses; knows no value.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{CallArg, Expr, Stmt};

/// The names of a block, without those of the blocks inside it that have a scope.
#[derive(Default)]
pub(super) struct Scope<'a> {
    /// All that it reads or sets.
    pub(super) names: BTreeSet<&'a str>,
    /// Those that it sets before it reads them.
    pub(super) own: Vec<&'a str>,
    /// Whether it sets a name at all.
    pub(super) sets: bool,
}

impl<'a> Scope<'a> {
    /// The names of a block that is given some, and reads others before it begins.
    pub(super) fn of(given: impl IntoIterator<Item = &'a str>, before: &[Expr<'a>], statements: &[Stmt<'a>]) -> Self {
        let mut scope = Self { names: given.into_iter().collect(), ..Self::default() };
        scope.reads(before);
        // A tree may be deep: whatever waits is kept here, not on the stack.
        let mut waiting = vec![(statements.iter(), false)];
        while let Some((rest, in_branch)) = waiting.last_mut() {
            let in_branch = *in_branch;
            match rest.next() {
                None => {
                    waiting.pop();
                }
                Some(Stmt::IfCond(one)) => {
                    scope.reads([&one.expr]);
                    waiting.push((one.false_body.iter(), true));
                    waiting.push((one.true_body.iter(), true));
                }
                Some(other) => scope.statement(other, in_branch),
            }
        }
        scope
    }

    fn statement(&mut self, statement: &Stmt<'a>, in_branch: bool) {
        match statement {
            Stmt::EmitExpr(one) => self.reads([&one.expr]),
            Stmt::Do(one) => self.reads(std::iter::once(&one.call.expr).chain(one.call.args.iter().map(value_of))),
            Stmt::Set(one) => {
                self.reads([&one.expr]);
                self.target(&one.target, in_branch);
            }
            Stmt::SetBlock(one) => self.target(&one.target, in_branch),
            Stmt::ForLoop(one) => self.reads([&one.iter]),
            Stmt::WithBlock(one) => self.reads(one.assignments.iter().map(|(_, value)| value)),
            Stmt::FilterBlock(one) => self.reads([&one.filter]),
            Stmt::CallBlock(one) => {
                self.reads(std::iter::once(&one.call.expr).chain(one.call.args.iter().map(value_of)));
            }
            // Nothing of another meaning has a macro's name.
            Stmt::Macro(one) => {
                self.sets = true;
                self.names.insert(one.name);
            }
            _ => {}
        }
    }

    fn target(&mut self, target: &Expr<'a>, in_branch: bool) {
        match target {
            Expr::Var(name) => {
                self.sets = true;
                if self.names.insert(name.id) && !in_branch {
                    self.own.push(name.id);
                }
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.target(item, in_branch)),
            other => self.reads([other]),
        }
    }

    fn reads<'t>(&mut self, expressions: impl IntoIterator<Item = &'t Expr<'a>>)
    where
        'a: 't,
    {
        let mut waiting: Vec<&Expr<'a>> = expressions.into_iter().collect();
        while let Some(expression) = waiting.pop() {
            match expression {
                Expr::Var(name) => {
                    self.names.insert(name.id);
                }
                Expr::Const(_) => {}
                Expr::Slice(one) => {
                    waiting.push(&one.expr);
                    waiting.extend([&one.start, &one.stop, &one.step].into_iter().flatten());
                }
                Expr::UnaryOp(one) => waiting.push(&one.expr),
                Expr::BinOp(one) => waiting.extend([&one.left, &one.right]),
                Expr::Compare(one) => {
                    waiting.push(&one.expr);
                    waiting.extend(one.ops.iter().map(|op| &op.expr));
                }
                Expr::IfExpr(one) => {
                    waiting.extend([&one.test_expr, &one.true_expr]);
                    waiting.extend(&one.false_expr);
                }
                Expr::Filter(one) => {
                    waiting.extend(&one.expr);
                    waiting.extend(one.args.iter().map(value_of));
                }
                Expr::Test(one) => {
                    waiting.push(&one.expr);
                    waiting.extend(one.args.iter().map(value_of));
                }
                Expr::GetAttr(one) => waiting.push(&one.expr),
                Expr::GetItem(one) => waiting.extend([&one.expr, &one.subscript_expr]),
                Expr::Call(one) => {
                    waiting.push(&one.expr);
                    waiting.extend(one.args.iter().map(value_of));
                }
                Expr::List(one) => waiting.extend(&one.items),
                Expr::Map(one) => waiting.extend(one.keys.iter().chain(&one.values)),
            }
        }
    }
}

fn value_of<'t, 'a>(arg: &'t CallArg<'a>) -> &'t Expr<'a> {
    match arg {
        CallArg::Pos(value) | CallArg::Kwarg(_, value) | CallArg::PosSplat(value) | CallArg::KwargSplat(value) => value,
    }
}

/// The names of a target.
pub(super) fn names_of<'a>(target: &Expr<'a>) -> Vec<&'a str> {
    match target {
        Expr::Var(name) => vec![name.id],
        Expr::List(list) => list.items.iter().flat_map(names_of).collect(),
        _ => Vec::new(),
    }
}
