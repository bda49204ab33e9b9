/* See onednn.h. v2 (Debian 12) passes memory descriptors by value and makes a primitive in two
 * steps; v3 (Debian 13, Ubuntu 24.04) has opaque descriptors. The few lines that differ stand
 * together at the top. */
#include "backend/cpu/onednn.h"

#include <dnnl.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

#define N_BUCKETS 1024 /* of the primitive cache; a power of two */
#define N_DIMS 2

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t layout_ref;

static dnnl_status_t layout_init(layout *l, const dnnl_dims_t dims, dnnl_data_type_t type,
                                 const dnnl_dims_t strides) {
    return dnnl_memory_desc_create_with_strides(l, N_DIMS, dims, type, strides);
}
static dnnl_status_t layout_init_tag(layout *l, const dnnl_dims_t dims, dnnl_data_type_t type,
                                     dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(l, N_DIMS, dims, type, tag);
}
static void layout_deinit(layout *l) { dnnl_memory_desc_destroy(*l); }
static layout_ref layout_get(const layout *l) { return *l; }

static dnnl_status_t append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}
static dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha) {
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, 0.0f);
}
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const layout *a,
                              const layout *b, const layout *bias, const layout *c,
                              const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(out, engine, *a, *b, bias ? *bias : NULL, *c, attr);
}
#else
typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_ref;

static dnnl_status_t layout_init(layout *l, const dnnl_dims_t dims, dnnl_data_type_t type,
                                 const dnnl_dims_t strides) {
    return dnnl_memory_desc_init_by_strides(l, N_DIMS, dims, type, strides);
}
static dnnl_status_t layout_init_tag(layout *l, const dnnl_dims_t dims, dnnl_data_type_t type,
                                     dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(l, N_DIMS, dims, type, tag);
}
static void layout_deinit(layout *l) { (void)l; }
static layout_ref layout_get(const layout *l) { return l; }

static dnnl_status_t append_sum(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1.0f); }
static dnnl_status_t append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha) {
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, 0.0f);
}
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, const layout *a,
                              const layout *b, const layout *bias, const layout *c,
                              const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t status = dnnl_matmul_desc_init(&desc, a, b, bias, c);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
}
#endif

/* What a primitive depends on. Zeroed before it is filled: it is hashed and compared as bytes. */
typedef struct matmul_key {
    int64_t m, n, k;
    int64_t a_row, a_col, b_row, b_col, c_row;
    int32_t in_type, out_type, bias_type; /* cloze_dtype; bias_type -1 = no bias */
    int32_t act, accumulate, b_blocks;
} matmul_key;

typedef struct cached_matmul {
    struct cached_matmul *next; /* in its bucket */
    matmul_key key;
    uint64_t used; /* when last, in calls */
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, c, bias, scratchpad; /* bias, scratchpad NULL when not needed */
    size_t scratchpad_bytes;
} cached_matmul;

struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    cached_matmul *buckets[N_BUCKETS];
    int count;
    uint64_t calls;
    void *scratchpad;
    size_t scratchpad_bytes;
    bool has_bf16, f32_blocks, bf16_blocks;
};

#define DNNL_TRY(call)                                                                             \
    do {                                                                                           \
        dnnl_status_t dnnl_status_ = (call);                                                       \
        if (dnnl_status_ != dnnl_success) return dnnl_status_;                                     \
    } while (0)

static dnnl_data_type_t type_of(int32_t dtype) {
    return dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static void cached_free(cached_matmul *c) {
    if (!c) return;
    dnnl_memory_t memories[] = {c->a, c->b, c->c, c->bias, c->scratchpad};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) {
        if (memories[i]) dnnl_memory_destroy(memories[i]);
    }
    if (c->primitive) dnnl_primitive_destroy(c->primitive);
    mem_free(c);
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, int32_t act) {
    switch ((activation)act) {
    case ACT_NONE: return dnnl_success;
    case ACT_GELU_ERF: return append_eltwise(ops, dnnl_eltwise_gelu_erf, 0.0f);
    case ACT_GELU_TANH: return append_eltwise(ops, dnnl_eltwise_gelu_tanh, 0.0f);
    case ACT_RELU: return append_eltwise(ops, dnnl_eltwise_relu, 0.0f);
    case ACT_SILU: return append_eltwise(ops, dnnl_eltwise_swish, 1.0f);
    case ACT_TANH: return append_eltwise(ops, dnnl_eltwise_tanh, 0.0f);
    }
    return dnnl_invalid_arguments;
}

/* Scratchpad by the caller; sum and activation after the product. */
static dnnl_status_t attributes_of(const matmul_key *key, dnnl_primitive_attr_t *attr) {
    DNNL_TRY(dnnl_primitive_attr_create(attr));
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    dnnl_post_ops_t ops;
    DNNL_TRY(dnnl_post_ops_create(&ops));
    dnnl_status_t status = key->accumulate ? append_sum(ops) : dnnl_success;
    if (status == dnnl_success) status = append_activation(ops, key->act);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attr, ops);
    dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_status_t memory_new(const onednn *o, layout_ref l, dnnl_memory_t *out) {
    return dnnl_memory_create(out, l, o->engine, DNNL_MEMORY_NONE);
}

/* The primitive and the memory objects of desc. */
static dnnl_status_t cached_fill(const onednn *o, cached_matmul *c, dnnl_primitive_desc_t desc) {
    DNNL_TRY(dnnl_primitive_create(&c->primitive, desc));
    DNNL_TRY(memory_new(o, dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0), &c->a));
    DNNL_TRY(memory_new(o, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0), &c->b));
    DNNL_TRY(memory_new(o, dnnl_primitive_desc_query_md(desc, dnnl_query_dst_md, 0), &c->c));
    if (c->key.bias_type >= 0) {
        DNNL_TRY(
            memory_new(o, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 1), &c->bias));
    }
    layout_ref pad = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    c->scratchpad_bytes = pad ? dnnl_memory_desc_get_size(pad) : 0;
    if (c->scratchpad_bytes > 0) DNNL_TRY(memory_new(o, pad, &c->scratchpad));
    return dnnl_success;
}

static dnnl_format_tag_t blocks_tag(dnnl_data_type_t type) {
    return type == dnnl_bf16 ? dnnl_BA16a64b2a : dnnl_BA16a64b;
}

static dnnl_status_t cached_build(const onednn *o, cached_matmul *c) {
    const matmul_key *key = &c->key;
    const dnnl_dims_t dims[] = {{key->m, key->k}, {key->k, key->n}, {key->m, key->n}, {1, key->n}};
    const dnnl_dims_t strides[] = {
        {key->a_row, key->a_col}, {key->b_row, key->b_col}, {key->c_row, 1}, {key->n, 1}};
    const int32_t types[] = {key->in_type, key->in_type, key->out_type, key->bias_type};
    layout layouts[4];
    int n_layouts = key->bias_type >= 0 ? 4 : 3, made = 0;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t status = dnnl_success;
    while (made < n_layouts && status == dnnl_success) {
        dnnl_data_type_t type = type_of(types[made]);
        status = made == 1 && key->b_blocks
                     ? layout_init_tag(&layouts[made], dims[made], type, blocks_tag(type))
                     : layout_init(&layouts[made], dims[made], type, strides[made]);
        if (status == dnnl_success) made++;
    }
    if (status == dnnl_success) status = attributes_of(key, &attr);
    if (status == dnnl_success) {
        status = describe(&desc, o->engine, &layouts[0], &layouts[1],
                          n_layouts == 4 ? &layouts[3] : NULL, &layouts[2], attr);
    }
    if (status == dnnl_success) status = cached_fill(o, c, desc);
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (attr) dnnl_primitive_attr_destroy(attr);
    while (made > 0) layout_deinit(&layouts[--made]);
    return status;
}

static void evict_oldest(onednn *o) {
    cached_matmul **oldest = NULL;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        for (cached_matmul **at = &o->buckets[i]; *at; at = &(*at)->next) {
            if (!oldest || (*at)->used < (*oldest)->used) oldest = at;
        }
    }
    if (!oldest) return;
    cached_matmul *c = *oldest;
    *oldest = c->next;
    cached_free(c);
    o->count--;
}

static cloze_status cached_get(onednn *o, const matmul_key *key, cached_matmul **out,
                               cloze_error *err) {
    size_t bucket = hash_bytes(key, sizeof *key) & (N_BUCKETS - 1);
    for (cached_matmul *c = o->buckets[bucket]; c; c = c->next) {
        if (memcmp(&c->key, key, sizeof *key) == 0) {
            *out = c;
            return CLOZE_OK;
        }
    }
    cached_matmul *c;
    MEM_NEW(err, c, 1);
    c->key = *key;
    dnnl_status_t status = cached_build(o, c);
    if (status != dnnl_success) {
        cached_free(c);
        if (status == dnnl_out_of_memory)
            CLOZE_FAIL(err, MEMORY, "out of memory (oneDNN primitive)");
        CLOZE_FAIL(err, INTERNAL,
                   "oneDNN has no product (%lld,%lld)x(%lld,%lld) of %s to %s (status %d)",
                   (long long)key->m, (long long)key->k, (long long)key->k, (long long)key->n,
                   dtype_name((cloze_dtype)key->in_type), dtype_name((cloze_dtype)key->out_type),
                   (int)status);
    }
    if (o->count >= ONEDNN_CACHE_MAX) evict_oldest(o);
    c->next = o->buckets[bucket];
    o->buckets[bucket] = c;
    o->count++;
    *out = c;
    return CLOZE_OK;
}

static cloze_status scratchpad_reserve(onednn *o, size_t bytes, cloze_error *err) {
    if (bytes <= o->scratchpad_bytes) return CLOZE_OK;
    mem_free(o->scratchpad);
    o->scratchpad_bytes = 0;
    o->scratchpad = mem_alloc(bytes);
    if (!o->scratchpad)
        CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes for a matrix product)", bytes);
    o->scratchpad_bytes = bytes;
    return CLOZE_OK;
}

static matmul_key key_of(const matmul *p) {
    matmul_key key;
    memset(&key, 0, sizeof key);
    key.m = p->a.rows;
    key.n = p->b.cols;
    key.k = p->a.cols;
    key.a_row = p->a.row_stride;
    key.a_col = p->a.col_stride;
    key.b_row = p->b_blocks ? 0 : p->b.row_stride;
    key.b_col = p->b_blocks ? 0 : p->b.col_stride;
    key.b_blocks = p->b_blocks;
    key.c_row = p->c.row_stride;
    key.in_type = (int32_t)p->a.dtype;
    key.out_type = (int32_t)p->c.dtype;
    key.bias_type = p->bias ? (int32_t)p->bias->dtype : -1;
    key.act = (int32_t)p->act;
    key.accumulate = p->accumulate;
    return key;
}

static dnnl_status_t run(const onednn *o, const cached_matmul *c, const matmul *p) {
    dnnl_exec_arg_t args[5] = {
        {DNNL_ARG_SRC, c->a}, {DNNL_ARG_WEIGHTS, c->b}, {DNNL_ARG_DST, c->c}};
    int n_args = 3;
    DNNL_TRY(dnnl_memory_set_data_handle(c->a, p->a.data));
    DNNL_TRY(dnnl_memory_set_data_handle(c->b, p->b.data));
    DNNL_TRY(dnnl_memory_set_data_handle(c->c, p->c.data));
    if (c->bias) {
        DNNL_TRY(dnnl_memory_set_data_handle(c->bias, p->bias->data));
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, c->bias};
    }
    if (c->scratchpad) {
        DNNL_TRY(dnnl_memory_set_data_handle(c->scratchpad, o->scratchpad));
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, c->scratchpad};
    }
    DNNL_TRY(dnnl_primitive_execute(c->primitive, o->stream, n_args, args));
    return dnnl_stream_wait(o->stream);
}

cloze_status onednn_matmul(onednn *o, const matmul *p, cloze_error *err) {
    matmul_key key = key_of(p);
    cached_matmul *c;
    CLOZE_TRY(cached_get(o, &key, &c, err));
    CLOZE_TRY(scratchpad_reserve(o, c->scratchpad_bytes, err));
    c->used = ++o->calls;
    dnnl_status_t status = run(o, c, p);
    if (status != dnnl_success)
        CLOZE_FAIL(err, INTERNAL, "oneDNN: a matrix product failed (status %d)", (int)status);
    return CLOZE_OK;
}

bool onednn_has_bf16(const onednn *o) { return o->has_bf16; }

/* A small bf16 product is described: some processors have none. */
static bool probe_bf16(onednn *o) {
    cached_matmul c = {.key = {.m = 32,
                               .n = 32,
                               .k = 32,
                               .a_row = 32,
                               .a_col = 1,
                               .b_row = 1,
                               .b_col = 32,
                               .c_row = 32,
                               .in_type = DTYPE_BF16,
                               .out_type = DTYPE_F32,
                               .bias_type = DTYPE_F32}};
    cached_matmul *copy = mem_calloc(1, sizeof *copy);
    if (!copy) return false;
    *copy = c;
    bool made = cached_build(o, copy) == dnnl_success;
    cached_free(copy);
    return made;
}

/* Whether the library, left to choose, takes b in our blocks: what it would choose differs between
 * processors and versions. */
static bool probe_blocks(const onednn *o, dnnl_data_type_t type) {
    const dnnl_dims_t dims = {256, 256}, strides = {256, 1};
    layout a, b, chosen;
    dnnl_primitive_desc_t desc = NULL;
    bool same = false;
    if (layout_init(&a, dims, type, strides) != dnnl_success) return false;
    if (layout_init_tag(&b, dims, type, blocks_tag(type)) == dnnl_success) {
        if (layout_init_tag(&chosen, dims, type, dnnl_format_tag_any) == dnnl_success) {
            if (describe(&desc, o->engine, &a, &chosen, NULL, &a, NULL) == dnnl_success) {
                layout_ref weights = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
                same = dnnl_memory_desc_equal(weights, layout_get(&b));
                dnnl_primitive_desc_destroy(desc);
            }
            layout_deinit(&chosen);
        }
        layout_deinit(&b);
    }
    layout_deinit(&a);
    return same;
}

bool onednn_has_blocks(const onednn *o, cloze_dtype dtype) {
    return dtype == DTYPE_BF16 ? o->bf16_blocks : o->f32_blocks;
}

cloze_status onednn_open(cpu_isa isa, onednn **out, cloze_error *err) {
    onednn *o;
    *out = NULL;
    /* CLOZE_ISA lowers oneDNN too. It allows that only before its first use in the process: a later
     * request fails, which is harmless, because the environment does not change. */
    if (isa == CPU_ISA_AVX2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    if (isa == CPU_ISA_PORTABLE) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    MEM_NEW(err, o, 1);
    if (dnnl_engine_create(&o->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags) != dnnl_success) {
        onednn_close(o);
        CLOZE_FAIL(err, INTERNAL, "oneDNN cannot open the processor");
    }
    o->has_bf16 = probe_bf16(o);
    o->f32_blocks = probe_blocks(o, dnnl_f32);
    o->bf16_blocks = o->has_bf16 && probe_blocks(o, dnnl_bf16);
    *out = o;
    return CLOZE_OK;
}

void onednn_close(onednn *o) {
    if (!o) return;
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (o->buckets[i]) {
            cached_matmul *c = o->buckets[i];
            o->buckets[i] = c->next;
            cached_free(c);
        }
    }
    if (o->stream) dnnl_stream_destroy(o->stream);
    if (o->engine) dnnl_engine_destroy(o->engine);
    mem_free(o->scratchpad);
    mem_free(o);
}
