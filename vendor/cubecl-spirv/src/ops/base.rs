use cubecl_ir::prelude::*;
use pliron_spirv::{
    ops::FConvertOp,
    types::{FloatType, VectorType},
};
use rspirv::spirv::FPEncoding;

use crate::types::ty_to_spirv_dialect;

/// The type that values of a type are computed in, where that is another. `SPV_KHR_bfloat16` lets
/// bf16 be stored, converted and multiplied in matrices, and has no arithmetic, comparison or
/// function of it: a driver that is asked for one answers with garbage and no error.
pub(crate) fn computed_in(ctx: &Context, ty: TypeHandle) -> Option<TypeHandle> {
    let is_bf16 = |ty| {
        TypedHandle::<FloatType>::from_handle(ty, ctx)
            .is_ok_and(|ty| ty.deref(ctx).encoding == Some(FPEncoding::BFloat16KHR))
    };
    let wide = FloatType::get(ctx, 32, None).to_handle();
    if is_bf16(ty) {
        return Some(wide);
    }
    let vector = TypedHandle::<VectorType>::from_handle(ty, ctx).ok()?;
    let (count, element) = (vector.deref(ctx).count, vector.deref(ctx).element_type);
    is_bf16(element).then(|| VectorType::get(ctx, count, wide).to_handle())
}

/// An operand in the type that it is computed in.
pub(crate) fn widened(ctx: &mut Context, rewriter: &mut impl Rewriter, value: Value) -> Value {
    let ty = ty_to_spirv_dialect(ctx, value.get_type(ctx));
    match computed_in(ctx, ty) {
        Some(wide) => {
            let convert = FConvertOp::new(ctx, wide, value);
            rewriter.append_op_with_result(ctx, &convert)
        }
        None => value,
    }
}

/// Puts what an operation computed in its place, in the type that it has there.
pub(crate) fn replace_narrowed(
    ctx: &mut Context,
    rewriter: &mut impl Rewriter,
    op: Ptr<Operation>,
    new_op: Ptr<Operation>,
    out_ty: TypeHandle,
) {
    let result = new_op.result(ctx);
    if result.get_type(ctx) == out_ty {
        rewriter.replace_operation(ctx, op, new_op);
    } else {
        let convert = FConvertOp::new(ctx, out_ty, result);
        let value = rewriter.append_op_with_result(ctx, &convert);
        rewriter.replace_operation_with_values(ctx, op, vec![value]);
    }
}

macro_rules! unop_to_spirv_dialect {
    ($ty: ty => $new_ty: ty $(,$extra:expr)*) => {
        #[op_interface_impl]
        impl ToSpirvDialectOp for $ty {
            fn to_spirv_dialect(
                &self,
                ctx: &mut Context,
                rewriter: &mut DialectConversionRewriter,
                _operands_info: &OperandsInfo,
            ) -> Result<()> {
                let op = self.get_operation();
                let uniformity = cubecl_opt::passes::uniformity::op_dyn_uniformity(ctx, op);
                let inp = op.operand(ctx, 0);
                let inp = crate::ops::base::widened(ctx, rewriter, inp);
                let out_ty = ty_to_spirv_dialect(ctx, self.get_result(ctx).get_type(ctx));
                let wide_ty = crate::ops::base::computed_in(ctx, out_ty).unwrap_or(out_ty);
                let new_op = <$new_ty>::new(ctx, wide_ty, inp, $($extra),*);
                crate::compiler::decorate_uniform(ctx, new_op.get_operation(), uniformity);
                rewriter.append_op(ctx, &new_op);
                crate::ops::base::replace_narrowed(
                    ctx,
                    rewriter,
                    op,
                    new_op.get_operation(),
                    out_ty,
                );

                Ok(())
            }
        }
    };
}
pub(crate) use unop_to_spirv_dialect;

macro_rules! binop_to_spirv_dialect {
    ($ty: ty => $new_ty: ty $(,$extra:expr)*) => {
        #[op_interface_impl]
        impl ToSpirvDialectOp for $ty {
            fn to_spirv_dialect(
                &self,
                ctx: &mut Context,
                rewriter: &mut DialectConversionRewriter,
                _operands_info: &OperandsInfo,
            ) -> Result<()> {
                let op = self.get_operation();
                let uniformity = cubecl_opt::passes::uniformity::op_dyn_uniformity(ctx, op);
                let lhs = op.operand(ctx, 0);
                let lhs = crate::ops::base::widened(ctx, rewriter, lhs);
                let rhs = op.operand(ctx, 1);
                let rhs = crate::ops::base::widened(ctx, rewriter, rhs);
                let out_ty = ty_to_spirv_dialect(ctx, self.get_result(ctx).get_type(ctx));
                let wide_ty = crate::ops::base::computed_in(ctx, out_ty).unwrap_or(out_ty);
                let new_op = <$new_ty>::new(ctx, wide_ty, lhs, rhs, $($extra),*);
                crate::compiler::decorate_uniform(ctx, new_op.get_operation(), uniformity);
                rewriter.append_op(ctx, &new_op);
                crate::ops::base::replace_narrowed(
                    ctx,
                    rewriter,
                    op,
                    new_op.get_operation(),
                    out_ty,
                );

                Ok(())
            }
        }
    };
}
pub(crate) use binop_to_spirv_dialect;

macro_rules! ternop_to_spirv_dialect {
    ($ty: ty => $new_ty: ty $(,$extra:expr)*) => {
        #[op_interface_impl]
        impl ToSpirvDialectOp for $ty {
            fn to_spirv_dialect(
                &self,
                ctx: &mut Context,
                rewriter: &mut DialectConversionRewriter,
                _operands_info: &OperandsInfo,
            ) -> Result<()> {
                let op = self.get_operation();
                let uniformity = cubecl_opt::passes::uniformity::op_dyn_uniformity(ctx, op);
                let a = op.operand(ctx, 0);
                let a = crate::ops::base::widened(ctx, rewriter, a);
                let b = op.operand(ctx, 1);
                let b = crate::ops::base::widened(ctx, rewriter, b);
                let c = op.operand(ctx, 2);
                let c = crate::ops::base::widened(ctx, rewriter, c);
                let out_ty = ty_to_spirv_dialect(ctx, self.get_result(ctx).get_type(ctx));
                let wide_ty = crate::ops::base::computed_in(ctx, out_ty).unwrap_or(out_ty);
                let new_op = <$new_ty>::new(ctx, wide_ty, a, b, c, $($extra),*);
                crate::compiler::decorate_uniform(ctx, new_op.get_operation(), uniformity);
                rewriter.append_op(ctx, &new_op);
                crate::ops::base::replace_narrowed(
                    ctx,
                    rewriter,
                    op,
                    new_op.get_operation(),
                    out_ty,
                );

                Ok(())
            }
        }
    };
}
pub(crate) use ternop_to_spirv_dialect;
