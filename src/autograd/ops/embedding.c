/* Sum of embedding rows: BERT's word + position + token type (+ task type) in one pass. */
#include "autograd/node.h"

#define EMBEDDING_MAX_TABLES 8

typedef struct embedding_node {
    node base;
    param *tables[EMBEDDING_MAX_TABLES];
    const int32_t *ids[EMBEDDING_MAX_TABLES];      /* (N) device */
    const int32_t *host_ids[EMBEDDING_MAX_TABLES]; /* (N), row-lazy tables only */
    int n_tables;
} embedding_node;

/* out = sum_i table_i[ids_i]  =>  dtable_i[ids_i] += dout */
static bool embedding_backward(tape *t, node *base) {
    embedding_node *n = (embedding_node *)base;
    const tensor *dout = &base->out->grad; /* (N,H) */
    for (int i = 0; i < n->n_tables; i++) {
        param *table = n->tables[i];
        if (!param_needs_grad(t, table)) continue;
        param_grad_fill(table);
        if (table->row_lazy) param_touch_rows(table, n->host_ids[i], dout->rows);
        if (!TAPE_RUN(t, embedding_backward, dout, n->ids[i], &table->grad)) return false;
    }
    return true;
}

/* Ids come from a tokenizer that may not belong to the model: a wrong one must not read past a
 * table. */
static bool check_ids(tape *t, const param *table, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < table->w.t.rows) continue;
        tape_fail(
            t, CLOZE_ERR_MODEL,
            "id %d is outside %s, which has %lld rows: do tokenizer and model belong together?",
            (int)ids[i], table->name ? table->name : "the embedding", (long long)table->w.t.rows);
        return false;
    }
    return true;
}

var *op_embedding(tape *t, param *const tables[], const int32_t *const ids[], int n_tables,
                  int64_t n) {
    if (t->status != CLOZE_OK) return NULL;
    if (n_tables < 1 || n_tables > EMBEDDING_MAX_TABLES)
        return tape_fail(t, CLOZE_ERR_INTERNAL, "op_embedding sums 1 to 8 tables, not %d",
                         n_tables);
    const tensor *values[EMBEDDING_MAX_TABLES];
    const int32_t *device_ids[EMBEDDING_MAX_TABLES];
    bool needs = false;
    for (int i = 0; i < n_tables; i++) {
        if (!check_ids(t, tables[i], ids[i], n)) return NULL;
        values[i] = &tables[i]->w.t;
        device_ids[i] = tape_upload_i32(t, ids[i], n);
        if (!device_ids[i]) return NULL;
        needs = param_needs_grad(t, tables[i]) || needs;
    }
    var *y = tape_new_var(t, n, tables[0]->w.t.cols, DTYPE_F32);
    if (!y || !TAPE_RUN(t, embedding_forward, n_tables, values, device_ids, &y->t)) return NULL;
    embedding_node *kept = tape_node(t, y, needs, embedding_backward, sizeof *kept);
    if (!kept) return tape_result(t, y);
    kept->n_tables = n_tables;
    for (int i = 0; i < n_tables; i++) {
        kept->tables[i] = tables[i];
        kept->ids[i] = device_ids[i];
        if (tables[i]->row_lazy && tables[i]->requires_grad)
            kept->host_ids[i] = tape_host_copy(t, ids[i], (size_t)n * sizeof **ids);
    }
    return tape_result(t, y);
}
