/*
 * Attention over packed sequences as one op: scores, mask, softmax, dropout and context. Only the
 * inputs, the context and the log-sum-exp of each row are kept; backward recomputes the
 * probabilities.
 */
#include "autograd/node.h"

enum { IN_Q, IN_K, IN_V, IN_PREFIX_K, IN_PREFIX_V, N_INPUTS };

typedef struct attention_node {
    node base;
    attention_spec spec; /* with device pointers */
    var *qkv;            /* (N,3AD) fused, or NULL and then: */
    var *vars[N_INPUTS]; /* q, k, v (NULL when fused), prefixes (NULL without) */
    tensor in[N_INPUTS]; /* what the kernel read, compute dtype */
    tensor ctx, lse;     /* (Nq,AD), (Nq,A) */
    bool prefix;
} attention_node;

static attention_inputs kernel_inputs(const tensor in[N_INPUTS], bool prefix) {
    return (attention_inputs){&in[IN_Q], &in[IN_K], &in[IN_V], prefix ? &in[IN_PREFIX_K] : NULL,
                              prefix ? &in[IN_PREFIX_V] : NULL};
}

static bool attention_backward(tape *t, node *base) {
    attention_node *n = (attention_node *)base;
    grad_slot fused = {0}, slots[N_INPUTS] = {{{0}, NULL}};
    tensor *d[N_INPUTS] = {NULL};
    if (!tape_grad_open(t, n->qkv, n->in[IN_Q].dtype, &fused)) return false;
    for (int i = 0; i < N_INPUTS; i++) {
        if (!tape_grad_open(t, n->vars[i], n->in[i].dtype, &slots[i])) return false;
        if (i <= IN_V && fused.t.data) {
            slots[i].t = tensor_columns(&fused.t, i * n->in[i].cols, n->in[i].cols);
        }
        d[i] = grad_slot_tensor(&slots[i]);
    }
    attention_inputs in = kernel_inputs(n->in, n->prefix);
    attention_grads grads = {d[IN_Q], d[IN_K], d[IN_V], d[IN_PREFIX_K], d[IN_PREFIX_V]};
    if (!TAPE_RUN(t, attention_backward, &n->spec, &in, &n->ctx, &n->lse, &base->out->grad, &grads))
        return false;
    for (int i = 0; i < N_INPUTS; i++)
        if (!tape_grad_close(t, n->vars[i], &slots[i])) return false;
    return tape_grad_close(t, n->qkv, &fused);
}

/* Offsets must start at 0, not fall, and end at rows: kernels trust them. */
static bool check_offsets(tape *t, const int32_t *offsets, int32_t n_seqs, int64_t rows,
                          int32_t *longest) {
    bool good = n_seqs > 0 && offsets[0] == 0 && offsets[n_seqs] == rows;
    *longest = 0;
    for (int32_t i = 0; good && i < n_seqs; i++) {
        int32_t n = offsets[i + 1] - offsets[i];
        good = n >= 0;
        if (n > *longest) *longest = n;
    }
    if (!good)
        tape_fail(t, CLOZE_ERR_INTERNAL, "op_attention: offsets do not divide %lld rows",
                  (long long)rows);
    return good;
}

static bool make_spec(tape *t, const attention_layout *l, const var *q, const tensor in[N_INPUTS],
                      bool prefix, attention_spec *out) {
    int64_t cols = (int64_t)l->n_heads * l->head_dim;
    int64_t prefix_rows = l->prefix_per_seq ? (int64_t)l->n_prefix * l->n_seqs : l->n_prefix;
    bool fits = in[IN_Q].cols == cols && in[IN_K].cols == cols && in[IN_V].cols == cols &&
                in[IN_K].rows == in[IN_V].rows;
    if (prefix)
        fits = fits && in[IN_PREFIX_K].rows == prefix_rows && in[IN_PREFIX_V].rows == prefix_rows &&
               in[IN_PREFIX_K].cols == cols && in[IN_PREFIX_V].cols == cols;
    if (!fits || prefix != (l->n_prefix > 0)) {
        tape_fail(t, CLOZE_ERR_INTERNAL,
                  "op_attention: inputs do not have the shapes of %d heads of %d with prefix %d",
                  (int)l->n_heads, (int)l->head_dim, (int)l->n_prefix);
        return false;
    }
    *out = (attention_spec){.n_seqs = l->n_seqs,
                            .n_heads = l->n_heads,
                            .head_dim = l->head_dim,
                            .scale = l->scale,
                            .mask = l->mask,
                            .n_prefix = l->n_prefix,
                            .prefix_per_seq = l->prefix_per_seq};
    if (!check_offsets(t, l->q_offsets, l->n_seqs, in[IN_Q].rows, &out->max_q) ||
        !check_offsets(t, l->kv_offsets, l->n_seqs, in[IN_K].rows, &out->max_kv))
        return false;
    out->q_offsets = tape_upload_i32(t, l->q_offsets, l->n_seqs + 1);
    out->kv_offsets = l->kv_offsets == l->q_offsets
                          ? out->q_offsets
                          : tape_upload_i32(t, l->kv_offsets, l->n_seqs + 1);
    return out->kv_offsets && tape_dropout(t, q, l->dropout_p, l->site, &out->dropout);
}

/* Runs the kernel over in[] and records; n->vars and qkv come from the caller. */
static var *attend(tape *t, const attention_layout *layout, var *qkv, var *const vars[N_INPUTS],
                   const tensor in[N_INPUTS], tape_buffer *const buffers[N_INPUTS]) {
    bool prefix = in[IN_PREFIX_K].data != NULL, needs = var_needs_grad(qkv);
    const var *q = qkv ? qkv : vars[IN_Q];
    attention_spec spec;
    tensor lse = {0};
    tape_buffer *lse_buffer = NULL;
    if (!make_spec(t, layout, q, in, prefix, &spec)) return NULL;
    for (int i = 0; i < N_INPUTS; i++) needs = needs || var_needs_grad(vars[i]);
    bool save = tape_saves(t, needs);
    if (save && !tape_new_tensor(t, in[IN_Q].rows, layout->n_heads, DTYPE_F32, &lse, &lse_buffer))
        return NULL;
    var *y = tape_new_var(t, in[IN_Q].rows, in[IN_Q].cols, t->compute);
    attention_inputs inputs = kernel_inputs(in, prefix);
    if (!y || !TAPE_RUN(t, attention_forward, &spec, &inputs, &y->t, save ? &lse : NULL))
        return NULL;
    y->keys = q->keys;
    attention_node *n = tape_node(t, y, needs, attention_backward, sizeof *n);
    if (n) {
        n->spec = spec;
        n->qkv = qkv;
        n->ctx = y->t;
        n->lse = lse;
        n->prefix = prefix;
        for (int i = 0; i < N_INPUTS; i++) {
            n->vars[i] = vars[i];
            n->in[i] = in[i];
            tape_save(&n->base, buffers[i]);
        }
        tape_save(&n->base, y->t_buffer);
        tape_save(&n->base, lse_buffer);
    }
    tape_drop(t, lse_buffer);
    return tape_result(t, y);
}

static bool use_prefix(tape *t, var *const vars[N_INPUTS], tensor in[N_INPUTS],
                       tape_buffer *buffers[N_INPUTS]) {
    for (int i = IN_PREFIX_K; i <= IN_PREFIX_V; i++) {
        if (!vars[i]) continue;
        if (!tape_use(t, vars[i], "op_attention") || !tape_operand(t, vars[i], &in[i], &buffers[i]))
            return false;
    }
    return true;
}

var *op_attention_qkv(tape *t, var *qkv, var *prefix_k, var *prefix_v,
                      const attention_layout *layout) {
    var *vars[N_INPUTS] = {NULL, NULL, NULL, prefix_k, prefix_v};
    tensor in[N_INPUTS] = {{0}}, all;
    tape_buffer *buffers[N_INPUTS] = {NULL};
    if (!tape_use(t, qkv, "op_attention_qkv") || !tape_operand(t, qkv, &all, &buffers[IN_Q]))
        return NULL;
    if (!use_prefix(t, vars, in, buffers)) return NULL;
    int64_t cols = all.cols / 3;
    for (int i = IN_Q; i <= IN_V; i++) in[i] = tensor_columns(&all, i * cols, cols);
    return attend(t, layout, qkv, vars, in, buffers);
}

var *op_attention(tape *t, var *q, var *k, var *v, var *prefix_k, var *prefix_v,
                  const attention_layout *layout) {
    var *vars[N_INPUTS] = {q, k, v, prefix_k, prefix_v};
    tensor in[N_INPUTS] = {{0}};
    tape_buffer *buffers[N_INPUTS] = {NULL};
    for (int i = IN_Q; i <= IN_V; i++)
        if (!tape_use(t, vars[i], "op_attention") || !tape_operand(t, vars[i], &in[i], &buffers[i]))
            return NULL;
    return use_prefix(t, vars, in, buffers) ? attend(t, layout, NULL, vars, in, buffers) : NULL;
}
