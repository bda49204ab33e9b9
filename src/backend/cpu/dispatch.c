/*
 * The CPU backend's table. Most slots lead to the kernels of this processor's instruction set,
 * which the device found when it was opened: CALL writes those wrappers.
 */
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/device.h"

#define CALL(name, parameters, ...)                                                                \
    cloze_status cpu_##name parameters { return dev->kernels->name(dev, __VA_ARGS__, err); }

CALL(embedding_forward,
     (backend_device * dev, int n_tables, const tensor *const tables[], const int32_t *const ids[],
      tensor *out, cloze_error *err),
     n_tables, tables, ids, out)
CALL(embedding_backward,
     (backend_device * dev, const tensor *dout, const int32_t *ids, tensor *dtable,
      cloze_error *err),
     dout, ids, dtable)
CALL(activation_forward,
     (backend_device * dev, activation act, const tensor *x, tensor *y, cloze_error *err), act, x,
     y)
CALL(activation_backward,
     (backend_device * dev, activation act, const tensor *x, const tensor *dy, bool accumulate,
      tensor *dx, cloze_error *err),
     act, x, dy, accumulate, dx)
CALL(layer_norm_forward,
     (backend_device * dev, const tensor *x, const tensor *residual, const dropout_spec *dropout,
      const tensor *gamma, const tensor *beta, float eps, tensor *y, tensor *y_low, tensor *xhat,
      tensor *rstd, cloze_error *err),
     x, residual, dropout, gamma, beta, eps, y, y_low, xhat, rstd)
CALL(layer_norm_backward,
     (backend_device * dev, const tensor *dy, const tensor *xhat, const tensor *rstd,
      const tensor *gamma, const dropout_spec *dropout, bool accumulate_dx, tensor *dx,
      bool accumulate_dresidual, tensor *dresidual, tensor *dgamma, tensor *dbeta,
      cloze_error *err),
     dy, xhat, rstd, gamma, dropout, accumulate_dx, dx, accumulate_dresidual, dresidual, dgamma,
     dbeta)
CALL(rms_norm_forward,
     (backend_device * dev, const tensor *x, const tensor *gamma, float eps, tensor *y,
      tensor *rstd, cloze_error *err),
     x, gamma, eps, y, rstd)
CALL(rms_norm_backward,
     (backend_device * dev, const tensor *dy, const tensor *x, const tensor *rstd,
      const tensor *gamma, bool accumulate, tensor *dx, tensor *dgamma, cloze_error *err),
     dy, x, rstd, gamma, accumulate, dx, dgamma)
CALL(attention_forward,
     (backend_device * dev, const attention_spec *spec, const attention_inputs *in, tensor *ctx,
      tensor *lse, cloze_error *err),
     spec, in, ctx, lse)
CALL(attention_backward,
     (backend_device * dev, const attention_spec *spec, const attention_inputs *in,
      const tensor *ctx, const tensor *lse, const tensor *dctx, const attention_grads *grads,
      cloze_error *err),
     spec, in, ctx, lse, dctx, grads)
CALL(rope,
     (backend_device * dev, const tensor *x, const int32_t *positions, int32_t n_heads,
      int32_t rotary_dim, float base, bool interleaved, bool inverse, tensor *y, cloze_error *err),
     x, positions, n_heads, rotary_dim, base, interleaved, inverse, y)
CALL(dropout,
     (backend_device * dev, const tensor *x, const dropout_spec *dropout, bool accumulate,
      tensor *y, tensor *y_low, cloze_error *err),
     x, dropout, accumulate, y, y_low)
CALL(axpy,
     (backend_device * dev, float alpha, const tensor *x, bool accumulate, tensor *y,
      cloze_error *err),
     alpha, x, accumulate, y)
CALL(mul,
     (backend_device * dev, const tensor *x, const tensor *y, bool accumulate, tensor *z,
      cloze_error *err),
     x, y, accumulate, z)
CALL(sum_rows, (backend_device * dev, const tensor *x, tensor *dst, cloze_error *err), x, dst)
CALL(sum_all,
     (backend_device * dev, float alpha, const tensor *x, bool accumulate, tensor *dst,
      cloze_error *err),
     alpha, x, accumulate, dst)
CALL(glu_forward,
     (backend_device * dev, activation act, const tensor *x, tensor *y, cloze_error *err), act, x,
     y)
CALL(glu_backward,
     (backend_device * dev, activation act, const tensor *x, const tensor *dy, tensor *dx,
      cloze_error *err),
     act, x, dy, dx)
CALL(gather_rows,
     (backend_device * dev, const tensor *x, const int32_t *rows, tensor *y, cloze_error *err), x,
     rows, y)
CALL(scatter_add_rows,
     (backend_device * dev, const tensor *dy, const int32_t *rows, tensor *dx, cloze_error *err),
     dy, rows, dx)
CALL(mean_pool_forward,
     (backend_device * dev, const tensor *x, const int32_t *offsets, tensor *y, cloze_error *err),
     x, offsets, y)
CALL(mean_pool_backward,
     (backend_device * dev, const tensor *dy, const int32_t *offsets, bool accumulate, tensor *dx,
      cloze_error *err),
     dy, offsets, accumulate, dx)
CALL(log_softmax_forward, (backend_device * dev, const tensor *x, tensor *y, cloze_error *err), x,
     y)
CALL(log_softmax_backward,
     (backend_device * dev, const tensor *y, const tensor *dy, bool accumulate, tensor *dx,
      cloze_error *err),
     y, dy, accumulate, dx)
CALL(logsumexp_forward,
     (backend_device * dev, const tensor *x, const int32_t *groups, tensor *y, cloze_error *err), x,
     groups, y)
CALL(logsumexp_backward,
     (backend_device * dev, const tensor *x, const tensor *y, const int32_t *groups,
      const tensor *dy, bool accumulate, tensor *dx, cloze_error *err),
     x, y, groups, dy, accumulate, dx)
CALL(cross_entropy_forward,
     (backend_device * dev, const tensor *logits, const cross_entropy_spec *spec, tensor *lse,
      tensor *loss, cloze_error *err),
     logits, spec, lse, loss)
CALL(cross_entropy_backward,
     (backend_device * dev, const tensor *logits, const cross_entropy_spec *spec, const tensor *lse,
      const tensor *dloss, bool accumulate, tensor *dlogits, cloze_error *err),
     logits, spec, lse, dloss, accumulate, dlogits)
CALL(bce_forward,
     (backend_device * dev, const tensor *logits, const tensor *targets, float scale, tensor *loss,
      cloze_error *err),
     logits, targets, scale, loss)
CALL(bce_backward,
     (backend_device * dev, const tensor *logits, const tensor *targets, float scale,
      const tensor *dloss, bool accumulate, tensor *dlogits, cloze_error *err),
     logits, targets, scale, dloss, accumulate, dlogits)
CALL(kl_forward,
     (backend_device * dev, const tensor *p, const tensor *q, float scale, tensor *loss,
      cloze_error *err),
     p, q, scale, loss)
CALL(kl_backward,
     (backend_device * dev, const tensor *p, const tensor *q, float scale, const tensor *dloss,
      bool accumulate, tensor *dp, tensor *dq, cloze_error *err),
     p, q, scale, dloss, accumulate, dp, dq)
CALL(cosine_forward,
     (backend_device * dev, const tensor *a, const tensor *b, float eps, tensor *y,
      cloze_error *err),
     a, b, eps, y)
CALL(cosine_backward,
     (backend_device * dev, const tensor *a, const tensor *b, float eps, const tensor *y,
      const tensor *dy, tensor *da, tensor *db, cloze_error *err),
     a, b, eps, y, dy, da, db)
CALL(lstm_forward,
     (backend_device * dev, const tensor *xproj, const weight *w_hh, int32_t n_seqs,
      const int32_t *offsets, bool reverse, tensor *h, tensor *cell, tensor *gates,
      cloze_error *err),
     xproj, w_hh, n_seqs, offsets, reverse, h, cell, gates)
CALL(lstm_backward,
     (backend_device * dev, const tensor *dh, const tensor *h, const tensor *cell,
      const tensor *gates, const weight *w_hh, int32_t n_seqs, const int32_t *offsets, bool reverse,
      tensor *dxproj, tensor *dw_hh, cloze_error *err),
     dh, h, cell, gates, w_hh, n_seqs, offsets, reverse, dxproj, dw_hh)
CALL(sum_squares, (backend_device * dev, const float *x, int64_t n, double *out, cloze_error *err),
     x, n, out)
CALL(adamw,
     (backend_device * dev, const adamw_spec *spec, int64_t n, const float *grad, float *w,
      float *m, float *v, cloze_error *err),
     spec, n, grad, w, m, v)

const backend backend_cpu = {
    .name = "cpu",
    .device_open = cpu_device_open,
    .device_close = cpu_device_close,
    .mem_alloc = cpu_mem_alloc,
    .mem_free = cpu_mem_free,
    .upload = cpu_copy,
    .download = cpu_copy,
    .zero = cpu_zero,
    .sync = cpu_sync,
    .weight_drop_packs = cpu_weight_drop_packs,
#define KERNEL(slot, ...) .slot = cpu_##slot,
#include "backend/ops.def"
#undef KERNEL
};
