/*
 * The pickle machine: a stack of node positions, a memo, and one small function for each opcode in
 * a table. Every opcode makes at most one node, and nodes are bounded, so is the memory.
 */
#include "ckpt/pickle.h"

#include <string.h>

#include "base/mem.h"
#include "ckpt/ckpt_internal.h"

#define NODES_MAX ((size_t)1 << 22)
#define STACK_MARK (UINT32_MAX - 1)

typedef struct machine {
    pickle *p;
    const uint8_t *data;
    size_t n, at;
    size_t opcode_at;
    const char *what;
    const pickle_global *globals;
    size_t n_globals;
    uint32_t *stack, *memo;
    size_t n_stack, cap_stack, n_memo, cap_memo;
    bool stopped;
    cloze_error *err;
} machine;

#define PICKLE_FAIL(m, format, ...)                                                               \
    CLOZE_FAIL((m)->err, MODEL, "%s: pickle byte %zu: " format, (m)->what, (m)->opcode_at,        \
               ##__VA_ARGS__)

/* Makes room for `need` elements in a growing array. */
static cloze_status reserve(machine *m, void **array, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap) return CLOZE_OK;
    if (need > NODES_MAX) PICKLE_FAIL(m, "more than %zu objects: not a state dict", NODES_MAX);
    size_t wanted = 2 * *cap > need ? 2 * *cap : need + 64;
    void *grown = mem_realloc(*array, *cap * size, wanted * size);
    if (!grown) CLOZE_FAIL(m->err, MEMORY, "out of memory while reading %s", m->what);
    *array = grown;
    *cap = wanted;
    return CLOZE_OK;
}
#define RESERVE(m, array, cap, need)                                                              \
    do {                                                                                          \
        void *array_ = (array);                                                                   \
        CLOZE_TRY(reserve((m), &array_, &(cap), (need), sizeof *(array)));                        \
        (array) = array_;                                                                         \
    } while (0)

static cloze_status push(machine *m, uint32_t node)
{
    RESERVE(m, m->stack, m->cap_stack, m->n_stack + 1);
    m->stack[m->n_stack++] = node;
    return CLOZE_OK;
}

/* Pushes a fresh node; its position is the last one. */
static cloze_status push_node(machine *m, pickle_node node)
{
    pickle *p = m->p;
    RESERVE(m, p->nodes, p->cap_nodes, p->n_nodes + 1);
    if (!node.args) node.args = PICKLE_NO_NODE; /* node 0 is a sentinel, never an argument */
    node.state = node.head = node.tail = PICKLE_NO_NODE;
    node.position = m->opcode_at;
    p->nodes[p->n_nodes] = node;
    return push(m, (uint32_t)p->n_nodes++);
}

static cloze_status pop(machine *m, uint32_t *node)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1] == STACK_MARK)
        PICKLE_FAIL(m, "the stack is empty: the file is damaged");
    *node = m->stack[--m->n_stack];
    return CLOZE_OK;
}

static cloze_status top(machine *m, pickle_node **node)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1] == STACK_MARK)
        PICKLE_FAIL(m, "the stack is empty: the file is damaged");
    *node = pickle_get(m->p, m->stack[m->n_stack - 1]);
    return CLOZE_OK;
}

/* Where the stack stands above the topmost mark. */
static cloze_status find_mark(machine *m, size_t *first)
{
    size_t i = m->n_stack;
    while (i > 0 && m->stack[i - 1] != STACK_MARK) i--;
    if (i == 0) PICKLE_FAIL(m, "no mark on the stack: the file is damaged");
    *first = i;
    return CLOZE_OK;
}

static cloze_status append_item(machine *m, uint32_t container, uint32_t item)
{
    pickle *p = m->p;
    RESERVE(m, p->cells, p->cap_cells, p->n_cells + 1);
    uint32_t cell = (uint32_t)p->n_cells++;
    p->cells[cell] = (pickle_cell){item, PICKLE_NO_NODE};
    pickle_node *c = pickle_get(p, container);
    if (c->head == PICKLE_NO_NODE) c->head = cell;
    else p->cells[c->tail].next = cell;
    c->tail = cell;
    c->n_items++;
    return CLOZE_OK;
}

/* stack[first..] become the items of `container`, and leave the stack. */
static cloze_status append_from(machine *m, uint32_t container, size_t first)
{
    for (size_t i = first; i < m->n_stack; i++) CLOZE_TRY(append_item(m, container, m->stack[i]));
    m->n_stack = first;
    return CLOZE_OK;
}

static cloze_status take(machine *m, size_t n, const uint8_t **bytes)
{
    if (n > m->n - m->at)
        PICKLE_FAIL(m, "%zu bytes are wanted, but %zu are left: the file is cut short", n,
                    m->n - m->at);
    *bytes = m->data + m->at;
    m->at += n;
    return CLOZE_OK;
}

/* An unsigned little-endian number of n <= 8 bytes. */
static cloze_status take_uint(machine *m, size_t n, uint64_t *value)
{
    const uint8_t *p;
    CLOZE_TRY(take(m, n, &p));
    *value = 0;
    for (size_t i = 0; i < n; i++) *value |= (uint64_t)p[i] << (8 * i);
    return CLOZE_OK;
}

static cloze_status push_text(machine *m, pickle_kind kind, size_t length_bytes)
{
    uint64_t len;
    const uint8_t *text;
    CLOZE_TRY(take_uint(m, length_bytes, &len));
    CLOZE_TRY(take(m, (size_t)len, &text));
    return push_node(m,
                     (pickle_node){.kind = kind, .text = (const char *)text, .len = (size_t)len});
}

static cloze_status push_int(machine *m, int64_t value)
{
    return push_node(m, (pickle_node){.kind = PICKLE_INT, .integer = value});
}

static cloze_status op_proto(machine *m)
{
    uint64_t version;
    CLOZE_TRY(take_uint(m, 1, &version));
    if (version < 2 || version > 5)
        PICKLE_FAIL(m, "protocol %llu; state dicts use 2 to 5", (unsigned long long)version);
    return CLOZE_OK;
}

static cloze_status op_frame(machine *m)
{
    uint64_t bytes; /* only a hint for readers of streams */
    return take_uint(m, 8, &bytes);
}

static cloze_status op_mark(machine *m) { return push(m, STACK_MARK); }

static cloze_status op_stop(machine *m)
{
    CLOZE_TRY(pop(m, &m->p->root));
    m->stopped = true;
    return CLOZE_OK;
}

static cloze_status op_none(machine *m) { return push_node(m, (pickle_node){.kind = PICKLE_NONE}); }

static cloze_status op_true(machine *m)
{
    return push_node(m, (pickle_node){.kind = PICKLE_BOOL, .integer = 1});
}

static cloze_status op_false(machine *m)
{
    return push_node(m, (pickle_node){.kind = PICKLE_BOOL});
}

static cloze_status op_int4(machine *m)
{
    uint64_t value;
    CLOZE_TRY(take_uint(m, 4, &value));
    return push_int(m, (int32_t)(uint32_t)value);
}

static cloze_status op_int1(machine *m)
{
    uint64_t value;
    CLOZE_TRY(take_uint(m, 1, &value));
    return push_int(m, (int64_t)value);
}

static cloze_status op_int2(machine *m)
{
    uint64_t value;
    CLOZE_TRY(take_uint(m, 2, &value));
    return push_int(m, (int64_t)value);
}

static cloze_status op_long1(machine *m)
{
    uint64_t n, value;
    CLOZE_TRY(take_uint(m, 1, &n));
    if (n > 8) PICKLE_FAIL(m, "an integer of %llu bytes", (unsigned long long)n);
    CLOZE_TRY(take_uint(m, (size_t)n, &value));
    if (n > 0 && n < 8 && (value >> (8 * n - 1) & 1))
        value |= ~(uint64_t)0 << (8 * n); /* negative */
    return push_int(m, (int64_t)value);
}

static cloze_status op_float(machine *m)
{
    const uint8_t *p;
    uint64_t bits = 0;
    double value;
    CLOZE_TRY(take(m, 8, &p));
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i]; /* big-endian, unlike all else */
    memcpy(&value, &bits, sizeof value);
    return push_node(m, (pickle_node){.kind = PICKLE_FLOAT, .real = value});
}

static cloze_status op_string1(machine *m) { return push_text(m, PICKLE_STRING, 1); }
static cloze_status op_string4(machine *m) { return push_text(m, PICKLE_STRING, 4); }
static cloze_status op_string8(machine *m) { return push_text(m, PICKLE_STRING, 8); }
static cloze_status op_bytes1(machine *m) { return push_text(m, PICKLE_BYTES, 1); }
static cloze_status op_bytes4(machine *m) { return push_text(m, PICKLE_BYTES, 4); }
static cloze_status op_bytes8(machine *m) { return push_text(m, PICKLE_BYTES, 8); }

static cloze_status op_empty_tuple(machine *m)
{
    return push_node(m, (pickle_node){.kind = PICKLE_TUPLE});
}

static cloze_status op_empty_list(machine *m)
{
    return push_node(m, (pickle_node){.kind = PICKLE_LIST});
}

static cloze_status op_empty_dict(machine *m)
{
    return push_node(m, (pickle_node){.kind = PICKLE_DICT});
}

/* A tuple of stack[first..], which it replaces; a mark at `first - 1` goes when has_mark. */
static cloze_status make_tuple(machine *m, size_t first, bool has_mark)
{
    CLOZE_TRY(push_node(m, (pickle_node){.kind = PICKLE_TUPLE}));
    uint32_t tuple = m->stack[--m->n_stack];
    CLOZE_TRY(append_from(m, tuple, first));
    if (has_mark) m->n_stack--;
    return push(m, tuple);
}

static cloze_status op_tuple(machine *m)
{
    size_t first;
    CLOZE_TRY(find_mark(m, &first));
    return make_tuple(m, first, true);
}

static cloze_status tuple_of(machine *m, size_t n)
{
    for (size_t i = 1; i <= n; i++) {
        if (m->n_stack < i || m->stack[m->n_stack - i] == STACK_MARK)
            PICKLE_FAIL(m, "the stack is empty: the file is damaged");
    }
    return make_tuple(m, m->n_stack - n, false);
}

static cloze_status op_tuple1(machine *m) { return tuple_of(m, 1); }
static cloze_status op_tuple2(machine *m) { return tuple_of(m, 2); }
static cloze_status op_tuple3(machine *m) { return tuple_of(m, 3); }

/* stack[first..] go into the container below them (below the mark when has_mark). */
static cloze_status fill(machine *m, size_t first, bool has_mark, bool pairs)
{
    size_t below = has_mark ? first - 1 : first; /* position after the container */
    if (below == 0 || m->stack[below - 1] == STACK_MARK)
        PICKLE_FAIL(m, "no container below the items: the file is damaged");
    uint32_t container = m->stack[below - 1];
    pickle_kind kind = pickle_get(m->p, container)->kind;
    if (pairs ? kind != PICKLE_DICT && kind != PICKLE_OBJECT : kind != PICKLE_LIST)
        PICKLE_FAIL(m, "items for something that is no %s", pairs ? "dict" : "list");
    if (pairs && (m->n_stack - first) % 2 != 0) PICKLE_FAIL(m, "a dict key without a value");
    CLOZE_TRY(append_from(m, container, first));
    m->n_stack = below;
    return CLOZE_OK;
}

static cloze_status fill_marked(machine *m, bool pairs)
{
    size_t first;
    CLOZE_TRY(find_mark(m, &first));
    return fill(m, first, true, pairs);
}

static cloze_status op_appends(machine *m) { return fill_marked(m, false); }
static cloze_status op_setitems(machine *m) { return fill_marked(m, true); }

static cloze_status fill_last(machine *m, size_t n, bool pairs)
{
    for (size_t i = 1; i <= n + 1; i++) {
        if (m->n_stack < i || m->stack[m->n_stack - i] == STACK_MARK)
            PICKLE_FAIL(m, "the stack is empty: the file is damaged");
    }
    return fill(m, m->n_stack - n, false, pairs);
}

static cloze_status op_append(machine *m) { return fill_last(m, 1, false); }
static cloze_status op_setitem(machine *m) { return fill_last(m, 2, true); }

static cloze_status push_global(machine *m, const char *module, size_t module_len, const char *name,
                                size_t name_len)
{
    for (size_t i = 0; i < m->n_globals; i++) {
        const pickle_global *g = &m->globals[i];
        if (strlen(g->module) == module_len && memcmp(g->module, module, module_len) == 0 &&
            strlen(g->name) == name_len && memcmp(g->name, name, name_len) == 0)
            return push_node(m, (pickle_node){.kind = PICKLE_GLOBAL, .global = g->id});
    }
    char shown_module[64], shown_name[64];
    PICKLE_FAIL(m, "global %s.%s is refused: it is not part of a plain state dict. Save "
                "model.state_dict() alone, best as safetensors",
                ckpt_printable(module, module_len, shown_module, sizeof shown_module),
                ckpt_printable(name, name_len, shown_name, sizeof shown_name));
}

static cloze_status take_line(machine *m, const char **line, size_t *len)
{
    const uint8_t *begin = m->data + m->at;
    const uint8_t *end = m->n > m->at ? memchr(begin, '\n', m->n - m->at) : NULL;
    if (!end) PICKLE_FAIL(m, "a name without an end: the file is cut short");
    *line = (const char *)begin;
    *len = (size_t)(end - begin);
    m->at += *len + 1;
    return CLOZE_OK;
}

static cloze_status op_global(machine *m)
{
    const char *module, *name;
    size_t module_len, name_len;
    CLOZE_TRY(take_line(m, &module, &module_len));
    CLOZE_TRY(take_line(m, &name, &name_len));
    return push_global(m, module, module_len, name, name_len);
}

static cloze_status op_stack_global(machine *m)
{
    uint32_t name, module;
    CLOZE_TRY(pop(m, &name));
    CLOZE_TRY(pop(m, &module));
    const pickle_node *n = pickle_get(m->p, name), *mod = pickle_get(m->p, module);
    if (n->kind != PICKLE_STRING || mod->kind != PICKLE_STRING)
        PICKLE_FAIL(m, "a global whose name is not a string");
    return push_global(m, mod->text, mod->len, n->text, n->len);
}

static cloze_status op_reduce(machine *m)
{
    uint32_t args, callable;
    CLOZE_TRY(pop(m, &args));
    CLOZE_TRY(pop(m, &callable));
    const pickle_node *c = pickle_get(m->p, callable);
    if (c->kind != PICKLE_GLOBAL || pickle_get(m->p, args)->kind != PICKLE_TUPLE)
        PICKLE_FAIL(m, "a call of something that is no known function");
    return push_node(m, (pickle_node){.kind = PICKLE_OBJECT, .global = c->global, .args = args});
}

static cloze_status op_build(machine *m)
{
    uint32_t state;
    pickle_node *object;
    CLOZE_TRY(pop(m, &state));
    CLOZE_TRY(top(m, &object));
    if (object->kind != PICKLE_OBJECT) PICKLE_FAIL(m, "a state for something that is no object");
    object->state = state;
    return CLOZE_OK;
}

static cloze_status op_binpersid(machine *m)
{
    uint32_t id;
    CLOZE_TRY(pop(m, &id));
    return push_node(m, (pickle_node){.kind = PICKLE_PERSID, .args = id});
}

static cloze_status memo_put(machine *m, uint64_t i)
{
    pickle_node *unused;
    CLOZE_TRY(top(m, &unused));
    /* Picklers number their memo from 0 up, and each put takes bytes: more is a lie. */
    if (i >= m->at) PICKLE_FAIL(m, "memo number %llu is out of range", (unsigned long long)i);
    RESERVE(m, m->memo, m->cap_memo, (size_t)i + 1);
    while (m->n_memo <= i) m->memo[m->n_memo++] = PICKLE_NO_NODE;
    m->memo[i] = m->stack[m->n_stack - 1];
    return CLOZE_OK;
}

static cloze_status memo_get(machine *m, uint64_t i)
{
    if (i >= m->n_memo || m->memo[i] == PICKLE_NO_NODE)
        PICKLE_FAIL(m, "memo number %llu was never set", (unsigned long long)i);
    return push(m, m->memo[i]);
}

static cloze_status op_memoize(machine *m) { return memo_put(m, m->n_memo); }

static cloze_status op_put1(machine *m)
{
    uint64_t i;
    CLOZE_TRY(take_uint(m, 1, &i));
    return memo_put(m, i);
}

static cloze_status op_put4(machine *m)
{
    uint64_t i;
    CLOZE_TRY(take_uint(m, 4, &i));
    return memo_put(m, i);
}

static cloze_status op_get1(machine *m)
{
    uint64_t i;
    CLOZE_TRY(take_uint(m, 1, &i));
    return memo_get(m, i);
}

static cloze_status op_get4(machine *m)
{
    uint64_t i;
    CLOZE_TRY(take_uint(m, 4, &i));
    return memo_get(m, i);
}

/* run == NULL: a real opcode that no state dict needs; its name goes into the error. */
typedef struct opcode { const char *name; cloze_status (*run)(machine *m); } opcode;

static const opcode opcodes[256] = {
    [0x80] = {"PROTO", op_proto},
    [0x95] = {"FRAME", op_frame},
    ['('] = {"MARK", op_mark},
    ['.'] = {"STOP", op_stop},
    ['N'] = {"NONE", op_none},
    [0x88] = {"NEWTRUE", op_true},
    [0x89] = {"NEWFALSE", op_false},
    ['J'] = {"BININT", op_int4},
    ['K'] = {"BININT1", op_int1},
    ['M'] = {"BININT2", op_int2},
    [0x8a] = {"LONG1", op_long1},
    ['G'] = {"BINFLOAT", op_float},
    ['X'] = {"BINUNICODE", op_string4},
    [0x8c] = {"SHORT_BINUNICODE", op_string1},
    [0x8d] = {"BINUNICODE8", op_string8},
    ['T'] = {"BINSTRING", op_string4}, /* Python 2 */
    ['U'] = {"SHORT_BINSTRING", op_string1},
    ['B'] = {"BINBYTES", op_bytes4},
    ['C'] = {"SHORT_BINBYTES", op_bytes1},
    [0x8e] = {"BINBYTES8", op_bytes8},
    [0x96] = {"BYTEARRAY8", op_bytes8},
    [')'] = {"EMPTY_TUPLE", op_empty_tuple},
    ['t'] = {"TUPLE", op_tuple},
    [0x85] = {"TUPLE1", op_tuple1},
    [0x86] = {"TUPLE2", op_tuple2},
    [0x87] = {"TUPLE3", op_tuple3},
    [']'] = {"EMPTY_LIST", op_empty_list},
    ['a'] = {"APPEND", op_append},
    ['e'] = {"APPENDS", op_appends},
    ['}'] = {"EMPTY_DICT", op_empty_dict},
    ['s'] = {"SETITEM", op_setitem},
    ['u'] = {"SETITEMS", op_setitems},
    ['c'] = {"GLOBAL", op_global},
    [0x93] = {"STACK_GLOBAL", op_stack_global},
    ['R'] = {"REDUCE", op_reduce},
    ['b'] = {"BUILD", op_build},
    ['Q'] = {"BINPERSID", op_binpersid},
    ['q'] = {"BINPUT", op_put1},
    ['r'] = {"LONG_BINPUT", op_put4},
    [0x94] = {"MEMOIZE", op_memoize},
    ['h'] = {"BINGET", op_get1},
    ['j'] = {"LONG_BINGET", op_get4},
    ['0'] = {"POP", NULL},
    ['1'] = {"POP_MARK", NULL},
    ['2'] = {"DUP", NULL},
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    ['P'] = {"PERSID", NULL},
    ['S'] = {"STRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['d'] = {"DICT", NULL},
    ['g'] = {"GET", NULL},
    ['i'] = {"INST", NULL},
    ['l'] = {"LIST", NULL},
    ['o'] = {"OBJ", NULL},
    ['p'] = {"PUT", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x8b] = {"LONG4", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

static cloze_status run(machine *m)
{
    while (!m->stopped) {
        m->opcode_at = m->at;
        if (m->at == m->n) PICKLE_FAIL(m, "no STOP opcode: the file is cut short");
        uint8_t code = m->data[m->at++];
        const opcode *op = &opcodes[code];
        if (!op->run)
            PICKLE_FAIL(m, "opcode %s (0x%02x) is refused: a plain state dict has none. Save "
                        "model.state_dict() alone, best as safetensors",
                        op->name ? op->name : "unknown", code);
        CLOZE_TRY(op->run(m));
    }
    return CLOZE_OK;
}

cloze_status pickle_init(pickle *p, const uint8_t *data, size_t n, const char *what,
                         const pickle_global *globals, size_t n_globals, cloze_error *err)
{
    *p = (pickle){0};
    machine m = {.p = p, .data = data, .n = n, .what = what, .globals = globals,
                 .n_globals = n_globals, .err = err};
    cloze_status status = push_node(&m, (pickle_node){.kind = PICKLE_NONE}); /* the sentinel */
    m.n_stack = 0;
    if (status == CLOZE_OK) status = run(&m);
    p->size = m.at;
    mem_free(m.stack);
    mem_free(m.memo);
    return status;
}

void pickle_deinit(pickle *p)
{
    mem_free(p->nodes);
    mem_free(p->cells);
    *p = (pickle){0};
}

uint32_t pickle_item(const pickle *p, uint32_t node, uint32_t i)
{
    if (node == PICKLE_NO_NODE || i >= p->nodes[node].n_items) return PICKLE_NO_NODE;
    uint32_t cell = p->nodes[node].head;
    while (i-- > 0) cell = p->cells[cell].next;
    return p->cells[cell].node;
}

bool pickle_is(const pickle *p, uint32_t node, pickle_kind kind)
{
    return node != PICKLE_NO_NODE && p->nodes[node].kind == kind;
}

bool pickle_is_object(const pickle *p, uint32_t node, int global)
{
    return pickle_is(p, node, PICKLE_OBJECT) && p->nodes[node].global == global;
}

bool pickle_equals(const pickle *p, uint32_t node, const char *text)
{
    if (!pickle_is(p, node, PICKLE_STRING)) return false;
    const pickle_node *n = &p->nodes[node];
    return n->len == strlen(text) && memcmp(n->text, text, n->len) == 0;
}

int64_t pickle_integers(const pickle *p, uint32_t node, int64_t *out, int64_t max)
{
    if (!pickle_is(p, node, PICKLE_TUPLE) && !pickle_is(p, node, PICKLE_LIST)) return -1;
    const pickle_node *n = &p->nodes[node];
    if ((int64_t)n->n_items > max) return -1;
    int64_t count = 0;
    for (uint32_t cell = n->head; cell != PICKLE_NO_NODE; cell = p->cells[cell].next) {
        const pickle_node *item = &p->nodes[p->cells[cell].node];
        if (item->kind != PICKLE_INT) return -1;
        out[count++] = item->integer;
    }
    return count;
}
