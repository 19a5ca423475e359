//! Owns the making of nodes of the engine's tree, and the place of a statement. Knows no template.

use minijinja::Value;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, CallArg, Const, EmitExpr, Expr, Filter, Spanned, Stmt, Var, WithBlock,
};

pub(super) fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(Const { value }, span))
}

pub(super) fn variable(id: &str, span: Span) -> Expr<'_> {
    Expr::Var(Spanned::new(Var { id }, span))
}

pub(super) fn binary<'a>(op: BinOpKind, left: Expr<'a>, right: Expr<'a>, span: Span) -> Expr<'a> {
    Expr::BinOp(Spanned::new(BinOp { op, left, right }, span))
}

pub(super) fn filter<'a>(name: &'static str, first: Expr<'a>, rest: impl IntoIterator<Item = Expr<'a>>) -> Expr<'a> {
    let span = first.span();
    let args = rest.into_iter().map(CallArg::Pos).collect();
    Expr::Filter(Spanned::new(Filter { name, expr: Some(first), args }, span))
}

pub(super) fn emit<'a>(expr: Expr<'a>, span: Span) -> Stmt<'a> {
    Stmt::EmitExpr(Spanned::new(EmitExpr { expr }, span))
}

pub(super) fn plain_block<'a>(body: Vec<Stmt<'a>>, span: Span) -> Stmt<'a> {
    Stmt::WithBlock(Spanned::new(WithBlock { assignments: Vec::new(), body }, span))
}

pub(super) fn span_of(statement: &Stmt<'_>) -> Span {
    match statement {
        Stmt::Template(one) => one.span(),
        Stmt::EmitExpr(one) => one.span(),
        Stmt::EmitRaw(one) => one.span(),
        Stmt::ForLoop(one) => one.span(),
        Stmt::IfCond(one) => one.span(),
        Stmt::WithBlock(one) => one.span(),
        Stmt::Set(one) => one.span(),
        Stmt::SetBlock(one) => one.span(),
        Stmt::AutoEscape(one) => one.span(),
        Stmt::FilterBlock(one) => one.span(),
        Stmt::Block(one) => one.span(),
        Stmt::Import(one) => one.span(),
        Stmt::FromImport(one) => one.span(),
        Stmt::Extends(one) => one.span(),
        Stmt::Include(one) => one.span(),
        Stmt::Macro(one) => one.span(),
        Stmt::CallBlock(one) => one.span(),
        Stmt::Continue(one) => one.span(),
        Stmt::Break(one) => one.span(),
        Stmt::Do(one) => one.span(),
    }
}
