/*
 * A pickle reader that executes nothing. It interprets the opcodes that state dicts are made of
 * (protocols 2 to 5) into a tree of plain values; calls such as torch._utils._rebuild_tensor_v2
 * stay inert nodes (PICKLE_OBJECT) which torch.c and paddle.c look at. A global that the caller
 * does not list, or any other opcode, is refused with its name and position.
 */
#ifndef CLOZE_CKPT_PICKLE_H
#define CLOZE_CKPT_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,   /* integer */
    PICKLE_INT,    /* integer */
    PICKLE_FLOAT,  /* real */
    PICKLE_STRING, /* text, len: UTF-8 as the file has it, not checked */
    PICKLE_BYTES,  /* text, len */
    PICKLE_TUPLE,  /* items */
    PICKLE_LIST,   /* items */
    PICKLE_DICT,   /* items: key, value, key, value... */
    PICKLE_GLOBAL, /* global */
    PICKLE_PERSID, /* args: the persistent id */
    PICKLE_OBJECT  /* global called with args (a tuple); items as in a dict; state of BUILD */
} pickle_kind;

#define PICKLE_NO_NODE UINT32_MAX

/* Nodes refer to each other by position, so one may be reached on many ways, or contain itself. */
typedef struct pickle_node {
    pickle_kind kind;
    int global;           /* id of the pickle_global */
    uint32_t args, state; /* nodes, or PICKLE_NO_NODE */
    uint32_t head, tail;  /* cells of the items, or PICKLE_NO_NODE */
    uint32_t n_items;
    bool visited; /* for walkers */
    size_t position; /* of the opcode in the pickle */
    int64_t integer;
    double real;
    const char *text; /* in the file, not NUL-terminated */
    size_t len;
} pickle_node;

typedef struct pickle_cell { uint32_t node, next; } pickle_cell;

/* A global that may occur; id is the caller's, several may share one. */
typedef struct pickle_global {
    const char *module, *name;
    int id;
} pickle_global;

typedef struct pickle {
    pickle_node *nodes; /* (n_nodes) */
    pickle_cell *cells; /* (n_cells) */
    size_t n_nodes, cap_nodes, n_cells, cap_cells;
    uint32_t root;
    size_t size; /* bytes read, STOP included: where the next pickle of a sequence begins */
} pickle;

/* Reads the pickle at data[0..n); `what` names the source in errors (CLOZE_ERR_MODEL). The bytes
 * must outlive the pickle. End with pickle_deinit, after a failure too. */
cloze_status pickle_init(pickle *p, const uint8_t *data, size_t n, const char *what,
                         const pickle_global *globals, size_t n_globals, cloze_error *err);
void pickle_deinit(pickle *p);

/* Walking; a node is a position. */
static inline pickle_node *pickle_get(const pickle *p, uint32_t node) { return &p->nodes[node]; }
/* Item i of a tuple, list, dict or object (linear), or PICKLE_NO_NODE. */
uint32_t pickle_item(const pickle *p, uint32_t node, uint32_t i);
bool pickle_is(const pickle *p, uint32_t node, pickle_kind kind); /* false for PICKLE_NO_NODE */
bool pickle_is_object(const pickle *p, uint32_t node, int global);
bool pickle_equals(const pickle *p, uint32_t node, const char *text); /* a string of that text */
/* The integers of a tuple or list of at most max items; -1 when it is anything else. */
int64_t pickle_integers(const pickle *p, uint32_t node, int64_t *out, int64_t max);

#endif
