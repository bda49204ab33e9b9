/* layer_norm (with the residual and its dropout folded in) and rms_norm. Results are f32, with a
 * bf16 copy for the next product in bf16 mode. */
#include "autograd/node.h"

typedef struct norm_node {
    node base;
    var *x, *residual;
    param *gamma, *beta;
    tensor kept;      /* (N,H): xhat of layer_norm, x of rms_norm */
    tensor rstd;      /* (N,1) f32 */
    tensor gamma_f32; /* (1,H) */
    const dropout_spec *dropout;
} norm_node;

/* A var (N,H) f32 like x, with `low` in bf16 mode. */
static var *norm_output(tape *t, const var *x) {
    var *y = tape_new_var(t, x->t.rows, x->t.cols, DTYPE_F32);
    if (!y) return NULL;
    y->keys = x->keys;
    if (t->compute == DTYPE_BF16 &&
        !tape_new_tensor(t, x->t.rows, x->t.cols, DTYPE_BF16, &y->low, &y->low_buffer))
        return NULL;
    return y;
}

/* y = xhat gamma + beta, xhat = (s - mean) rstd, s = dropout(x) + residual */
static bool layer_norm_backward(tape *t, node *base) {
    norm_node *n = (norm_node *)base;
    const tensor *dy = &base->out->grad; /* (N,H) */
    tensor *dgamma = param_grad_all(n->gamma), *dbeta = param_grad_all(n->beta);
    tensor *dx = NULL, *dresidual = NULL;
    bool add_dx = false, add_dresidual = false;
    if (var_needs_grad(n->x) && !(dx = tape_grad(t, n->x, &add_dx))) return false;
    bool same = n->residual == n->x; /* one kernel call must not write one tensor twice */
    if (!same && var_needs_grad(n->residual) &&
        !(dresidual = tape_grad(t, n->residual, &add_dresidual)))
        return false;
    if (!TAPE_RUN(t, layer_norm_backward, dy, &n->kept, &n->rstd, &n->gamma_f32, n->dropout, add_dx,
                  dx, add_dresidual, dresidual, dgamma, dbeta))
        return false;
    return !same || !dx ||
           TAPE_RUN(t, layer_norm_backward, dy, &n->kept, &n->rstd, &n->gamma_f32, n->dropout,
                    false, NULL, true, dx, NULL, NULL);
}

static bool check_norm(tape *t, const var *x, const var *residual, const param *gamma) {
    bool fits = gamma->w.t.rows * gamma->w.t.cols == x->t.cols;
    if (residual) fits = fits && residual->t.rows == x->t.rows && residual->t.cols == x->t.cols;
    if (!fits)
        tape_fail(t, CLOZE_ERR_INTERNAL, "%s does not fit a (%lld, %lld) input and its residual",
                  gamma->name ? gamma->name : "a norm", (long long)x->t.rows, (long long)x->t.cols);
    return fits;
}

var *op_layer_norm(tape *t, var *x, var *residual, float dropout_p, uint64_t site, param *gamma,
                   param *beta, float eps) {
    if (!tape_use(t, x, "op_layer_norm") || (residual && !tape_use(t, residual, "op_layer_norm")))
        return NULL;
    const dropout_spec *dropout;
    tensor g, b, xhat = {0}, rstd = {0};
    tape_buffer *xhat_buffer = NULL, *rstd_buffer = NULL;
    if (!check_norm(t, x, residual, gamma) || !tape_dropout(t, x, dropout_p, site, &dropout))
        return NULL;
    if (!tape_param_f32(t, gamma, &g) || !tape_param_f32(t, beta, &b)) return NULL;
    bool needs = param_needs_grad(t, gamma) | param_needs_grad(t, beta) | var_needs_grad(x) |
                 var_needs_grad(residual);
    bool save = tape_saves(t, needs);
    if (save && (!tape_new_tensor(t, x->t.rows, x->t.cols, t->compute, &xhat, &xhat_buffer) ||
                 !tape_new_tensor(t, x->t.rows, 1, DTYPE_F32, &rstd, &rstd_buffer)))
        return NULL;
    var *y = norm_output(t, x);
    if (!y || !TAPE_RUN(t, layer_norm_forward, &x->t, residual ? &residual->t : NULL, dropout, &g,
                        &b, eps, &y->t, y->low.data ? &y->low : NULL, save ? &xhat : NULL,
                        save ? &rstd : NULL))
        return NULL;
    norm_node *n = tape_node(t, y, needs, layer_norm_backward, sizeof *n);
    if (n) {
        *n = (norm_node){n->base, x, residual, gamma, beta, xhat, rstd, g, dropout};
        tape_save(&n->base, xhat_buffer);
        tape_save(&n->base, rstd_buffer);
    }
    tape_drop(t, xhat_buffer);
    tape_drop(t, rstd_buffer);
    return tape_result(t, y);
}

/* y = x rstd gamma, rstd = 1/sqrt(mean(x^2) + eps) */
static bool rms_norm_backward(tape *t, node *base) {
    norm_node *n = (norm_node *)base;
    bool accumulate = false;
    tensor *dx = NULL;
    if (var_needs_grad(n->x) && !(dx = tape_grad(t, n->x, &accumulate))) return false;
    return TAPE_RUN(t, rms_norm_backward, &base->out->grad, &n->kept, &n->rstd, &n->gamma_f32,
                    accumulate, dx, param_grad_all(n->gamma));
}

var *op_rms_norm(tape *t, var *x, param *gamma, float eps) {
    if (!tape_use(t, x, "op_rms_norm") || !check_norm(t, x, NULL, gamma)) return NULL;
    tensor g, rstd = {0};
    tape_buffer *rstd_buffer = NULL;
    if (!tape_param_f32(t, gamma, &g)) return NULL;
    bool needs = param_needs_grad(t, gamma) | var_needs_grad(x);
    bool save = tape_saves(t, needs);
    if (save && !tape_new_tensor(t, x->t.rows, 1, DTYPE_F32, &rstd, &rstd_buffer)) return NULL;
    var *y = norm_output(t, x);
    if (!y || !TAPE_RUN(t, rms_norm_forward, &x->t, &g, eps, &y->t, save ? &rstd : NULL))
        return NULL;
    if (y->low.data && !TAPE_RUN(t, axpy, 1.0f, &y->t, false, &y->low)) return NULL;
    norm_node *n = tape_node(t, y, needs, rms_norm_backward, sizeof *n);
    if (n) {
        *n = (norm_node){
            .base = n->base, .x = x, .gamma = gamma, .kept = x->t, .rstd = rstd, .gamma_f32 = g};
        tape_save(&n->base, x->t_buffer);
        tape_save(&n->base, rstd_buffer);
    }
    tape_drop(t, rstd_buffer);
    return tape_result(t, y);
}
