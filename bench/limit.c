/*
 * How fast this machine multiplies matrices of a model's shapes: oneDNN alone, all cores, weights
 * packed as oneDNN likes them best, nothing around it. What a step could reach at most if nothing
 * but its products took time.
 */
#include <dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define MIN_SECONDS 0.25 /* of repeating one product, and how often at least */
#define MIN_RUNS 10

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t layout_ref;
static bool layout_make(layout *l, const dnnl_dims_t dims, dnnl_data_type_t type,
                        dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(l, 2, dims, type, tag) == dnnl_success;
}
static bool describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const layout l[3]) {
    return dnnl_matmul_primitive_desc_create(out, engine, l[0], l[1], NULL, l[2], NULL) ==
           dnnl_success;
}
#else
typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_ref;
static bool layout_make(layout *l, const dnnl_dims_t dims, dnnl_data_type_t type,
                        dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(l, 2, dims, type, tag) == dnnl_success;
}
static bool describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const layout l[3]) {
    dnnl_matmul_desc_t d;
    return dnnl_matmul_desc_init(&d, &l[0], &l[1], NULL, &l[2]) == dnnl_success &&
           dnnl_primitive_desc_create(out, &d, NULL, engine, NULL) == dnnl_success;
}
#endif

typedef struct product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c;
} product;

/* Memory of a layout, filled with small numbers: zeros could be too easy. */
static dnnl_memory_t new_memory(dnnl_engine_t engine, layout_ref l) {
    dnnl_memory_t m = NULL;
    void *data = NULL;
    if (dnnl_memory_create(&m, l, engine, DNNL_MEMORY_ALLOCATE) != dnnl_success) return NULL;
    if (dnnl_memory_get_data_handle(m, &data) == dnnl_success)
        memset(data, 0x3c, dnnl_memory_desc_get_size(l)); /* 0.0115 in float32 and in bfloat16 */
    return m;
}

/* (rows,K) x (K,M) to (rows,M), every layout as oneDNN wants it. */
static bool product_open(product *p, int rows, int k, int m, bool bf16) {
    const dnnl_dims_t dims[3] = {{rows, k}, {k, m}, {rows, m}};
    const dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
    const dnnl_format_tag_t tags[3] = {dnnl_ab, dnnl_format_tag_any, dnnl_ab};
    layout l[3];
    dnnl_primitive_desc_t d = NULL;
    memset(p, 0, sizeof *p);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success)
        return false;
    for (int i = 0; i < 3; i++)
        if (!layout_make(&l[i], dims[i], type, tags[i])) return false;
    if (!describe(&d, p->engine, l)) return false; /* this processor has no bf16 products */
    p->a = new_memory(p->engine, dnnl_primitive_desc_query_md(d, dnnl_query_src_md, 0));
    p->b = new_memory(p->engine, dnnl_primitive_desc_query_md(d, dnnl_query_weights_md, 0));
    p->c = new_memory(p->engine, dnnl_primitive_desc_query_md(d, dnnl_query_dst_md, 0));
    bool ok = p->a && p->b && p->c && dnnl_primitive_create(&p->primitive, d) == dnnl_success;
    dnnl_primitive_desc_destroy(d);
    return ok;
}

static void product_close(product *p) {
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    if (p->a) dnnl_memory_destroy(p->a);
    if (p->b) dnnl_memory_destroy(p->b);
    if (p->c) dnnl_memory_destroy(p->c);
    if (p->stream) dnnl_stream_destroy(p->stream);
    if (p->engine) dnnl_engine_destroy(p->engine);
}

static bool product_run(const product *p) {
    const dnnl_exec_arg_t args[3] = {
        {DNNL_ARG_SRC, p->a}, {DNNL_ARG_WEIGHTS, p->b}, {DNNL_ARG_DST, p->c}};
    return dnnl_primitive_execute(p->primitive, p->stream, 3, args) == dnnl_success &&
           dnnl_stream_wait(p->stream) == dnnl_success;
}

double limit_product(int rows, int k, int m, bool bf16) {
    product p;
    double best = 0, flops = 2.0 * rows * k * m;
    bool ok = product_open(&p, rows, k, m, bf16) && product_run(&p);
    double end = wall_clock() + MIN_SECONDS;
    for (int i = 0; ok && (i < MIN_RUNS || wall_clock() < end); i++) {
        double begin = wall_clock();
        ok = product_run(&p);
        double rate = flops / (wall_clock() - begin) * 1e-9;
        if (ok && rate > best) best = rate;
    }
    product_close(&p);
    return best;
}

double limit_layer(const shape_info *s, int rows, bool bf16) {
    const int shapes[4][2] = {{s->hidden, 3 * s->hidden},
                              {s->hidden, s->hidden},
                              {s->hidden, s->intermediate},
                              {s->intermediate, s->hidden}};
    double flops = 0, seconds = 0;
    for (int i = 0; i < 4; i++) {
        double rate = limit_product(rows, shapes[i][0], shapes[i][1], bf16);
        double work = 2.0 * rows * shapes[i][0] * shapes[i][1] * 1e-9;
        if (rate <= 0) return 0;
        flops += work;
        seconds += work / rate;
    }
    return flops / seconds;
}
