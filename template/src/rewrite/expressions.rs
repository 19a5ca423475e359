//! Owns how the expressions of a parsed template are rewritten: operators, slices, comparisons, literals and calls. Knows no
//! statement.

use minijinja::Value;
use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, Compare, CompareOpKind, Expr, Filter, GetAttr, GetItem, IfExpr, List, Spanned,
    Test, UnaryOp, UnaryOpKind,
};
use minijinja::value::ValueKind;

use super::Rewriter;
use crate::tree::{binary, constant, filter, variable};
use crate::value::{self, Kind};
use crate::{checks, filters, methods};

/// Lists of constants up to this length are compared by the engine.
const SHORT: u64 = 16;

impl<'a> Rewriter<'a> {
    pub(super) fn expression(&mut self, expression: &Expr<'a>) -> Expr<'a> {
        let span = expression.span();
        let rewritten = if !self.enter(span) {
            constant(Value::UNDEFINED, span)
        } else if let Some(minus) = minus_inside(expression, self.source).filter(|minus| self.moved != Some(*minus)) {
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
                if !self.set.contains(name.id) {
                    self.outside.insert(name.id);
                }
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
                let for_one = std::mem::take(&mut self.for_one).then(|| filters::for_one(one.name)).flatten();
                // `first` takes one item of what is made item by item.
                let lazy =
                    |inner: &Expr<'a>| matches!(inner, Expr::Filter(one) if filters::for_one(one.name).is_some());
                self.for_one = self.chat && one.name == "first" && one.expr.as_ref().is_some_and(lazy);
                let expr = one.expr.as_ref().map(|expr| self.expression(expr));
                let name = for_one.unwrap_or(one.name);
                Expr::Filter(Spanned::new(Filter { name, expr, args: self.arguments(&one.args) }, span))
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
                let near = matches!(&subscript_expr, Expr::Const(key) if key.value.as_str().is_some_and(named));
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
        let values = parts.iter().map(plain).collect::<Option<Vec<Value>>>();
        // What is no key is an error when it is run.
        let is_key = |key: &Value| key.as_object().is_none();
        let values = values.filter(|values| name != "__map" || values.iter().step_by(2).all(is_key));
        if let Some(values) = values {
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
            Kind::ScAnd | Kind::ScOr => {
                let (left, right) = (self.expression(&one.left), self.expression(&one.right));
                match &left {
                    // The engine would make a truth of two constants.
                    Expr::Const(one_left) if self.chat => {
                        if one_left.value.is_true() == matches!(one.op, Kind::ScAnd) {
                            right
                        } else {
                            left
                        }
                    }
                    _ => binary(one.op, left, right, span),
                }
            }
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

    pub(super) fn call(&mut self, one: &Call<'a>) -> Call<'a> {
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
            // A function of the language, or one that is missing: no variable.
            Expr::Var(name) if self.chat => {
                let is_read = self.outside.contains(name.id);
                let expr = self.expression(&one.expr);
                if !is_read {
                    self.outside.remove(name.id);
                }
                expr
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
fn minus_inside<'a>(expression: &Expr<'a>, source: &str) -> Option<*const Expr<'a>> {
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
            Expr::UnaryOp(one) if matches!(one.op, UnaryOpKind::Neg) => {
                // In parentheses it stands where it belongs.
                let after = usize::try_from(one.span().end_offset).ok().and_then(|end| source.get(end..));
                let closed = after.is_some_and(|after| after.trim_start().starts_with(')'));
                return (!closed).then_some(std::ptr::from_ref(inner));
            }
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
