/*
 * The benchmark: cloze and a peer in turn, in processes of their own, on the same weights and token
 * ids. It knows the library through cloze.h only.
 *
 *   bench.c     the command line, pairs, results
 *   cases.c     what is measured, against whom, and the goal
 *   workload.c  models of random weights, texts, runs: made once, in build/bench/
 *   worker.c    cloze's side of a case: one process that does a slice of work each time it is told
 *   process.c   starting workers, talking to them, their peak memory
 *   limit.c     how fast this machine multiplies matrices of these shapes
 *   report.c    the table and build/bench.json
 *
 * A worker prints "ready", then answers each line "go" with "<seconds> <units>", until its input
 * ends. Its standard error goes to build/bench/log/.
 */
#ifndef CLOZE_BENCH_H
#define CLOZE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PATH_BYTES 4096
#define MAX_PAIRS 64

/* ---- cases ---- */

typedef enum case_kind {
    CASE_TRAIN,    /* steps/s */
    CASE_PREDICT,  /* texts/s in calls of batch_size texts */
    CASE_LATENCY,  /* median seconds of single texts */
    CASE_TOKENIZE, /* texts/s */
    CASE_COLD,     /* seconds of a process from its start to the first answer */
    CASE_LOAD,     /* seconds from a warm process to the first answer */
    CASE_STREAM,   /* lines/s of `cloze predict` on a long file */
    CASE_SIZE      /* bytes that an installation takes */
} case_kind;

typedef struct bench_case {
    const char *name;
    case_kind kind;
    const char *shape; /* of the model: base, small, mini */
    bool bf16;
    int batch_size;
    int slice;         /* steps or texts of one measured slice */
    bool frozen, long_texts;
    const char *peer;      /* for people: "PyTorch bf16, tuned" */
    const char *peer_venv; /* folder of the peer's environment; NULL = no peer */
    const char *peer_args; /* script in bench/peers/ and its arguments */
    double goal;           /* of the ratio; 0 = none was set */
    double memory_goal; /* of cloze's peak memory over the peer's; 0 = none */
} bench_case;

extern const bench_case bench_cases[];
extern const int n_bench_cases;

/* True when less is better. */
static inline bool case_is_time(const bench_case *c) {
    return c->kind == CASE_LATENCY || c->kind == CASE_COLD || c->kind == CASE_LOAD ||
           c->kind == CASE_SIZE;
}
const char *case_unit(const bench_case *c);
/* Floating-point operations of the products of one unit (a step, a text) of n_tokens tokens in all;
 * 0 where products do not bound. */
double case_flops(const bench_case *c, double n_tokens, double n_texts);

/* ---- the workload ---- */

typedef struct shape_info {
    const char *name;
    int layers, hidden, heads, intermediate;
} shape_info;
const shape_info *shape_find(const char *name); /* NULL: a shipped model */

typedef struct workload {
    char root[PATH_BYTES]; /* of the repository */
    char dir[PATH_BYTES];  /* build/bench */
    char **titles, **articles; /* texts; (n_titles), (n_articles) */
    int n_titles, n_articles;
    const char *source; /* where the texts are from, for people */
} workload;

#define WORKLOAD_PROMPT "这条新闻标题的主题是" /* the tutorial's */

/* Everything is made when it is not there yet. False: said why on standard error. */
bool workload_open(workload *w, const char *root);
void workload_close(workload *w);
/* dir/SHAPE: a model directory; dir/SHAPE-run: a run trained for no step. */
bool workload_model(const workload *w, const char *shape, char path[PATH_BYTES]);
bool workload_run_dir(const workload *w, const char *shape, char path[PATH_BYTES]);
/* The case's texts as cloze encodes them, one JSON object a line, for peers. n_tokens receives the
 * tokens of one slice (may be NULL). */
bool workload_ids(const workload *w, const bench_case *c, char path[PATH_BYTES], double *n_tokens);
/* A data directory with the case's texts, labels in turn. */
bool workload_data(const workload *w, const bench_case *c, char path[PATH_BYTES]);
/* A file of n titles, a line each. */
bool workload_lines(const workload *w, int n, char path[PATH_BYTES]);
/* The texts of a slice: c->slice of them, or fewer when there are no more. */
char **workload_texts(const workload *w, const bench_case *c, int *n);

/* ---- processes ---- */

typedef struct process {
    int pid, in, out; /* file descriptors of its standard input and output */
    double peak_mb;   /* VmHWM when last asked */
} process;

/* argv ends with NULL; environment: further "NAME=value", ends with NULL. */
bool process_start(process *p, char *const argv[], char *const environment[], const char *log);
/* The next line within seconds, without its end; false when it ended or took too long. */
bool process_line(process *p, char *line, size_t size, double seconds);
/* "go" and the answer. */
bool process_slice(process *p, double *seconds, double *units);
double process_peak_mb(process *p);
void process_stop(process *p);
/* Runs to the end: wall seconds and the peak of the process, or false. */
bool process_run(char *const argv[], char *const environment[], const char *log, double *seconds,
                 double *peak_mb);
double wall_clock(void);
/* Seconds of processor time that the whole machine has spent, all cores; and one process with its
 * threads (0 when it is gone). */
double machine_cpu(void);
double process_cpu(int pid);

/* ---- cloze's side ---- */

/* The main of a worker process; its exit code. */
int worker_main(const workload *w, const bench_case *c);

/* ---- the machine ---- */

/* GFLOP/s of one product (rows,K) x (K,M), all cores, weights packed, the best of several. */
double limit_product(int rows, int k, int m, bool bf16);
/* The same over all products of an encoder layer's forward pass, by their weight. */
double limit_layer(const shape_info *s, int rows, bool bf16);

/* ---- results ---- */

typedef struct figures {
    double value[MAX_PAIRS];
    int n;
    double peak_mb;
} figures;

typedef struct result {
    const bench_case *c;
    figures own, peer; /* peer.n == 0: not measured */
    double ratio;      /* median of the pairs' ratios, above 1 = cloze is better; 0 = none */
    double percent;    /* of the product limit; 0 = none */
    double limit;      /* GFLOP/s */
    bool stored;       /* ratio is from bench/stored.json */
    char stored_note[128];
    double others;     /* cores that other processes kept busy during the pairs that count */
} result;

double figures_median(const figures *f);
void report_begin(void);
void report_line(const result *r);
/* Puts one result into build/bench.json, an array with the newest result of each case. */
bool report_write(const char *path, const workload *w, const result *r);
/* A ratio of bench/stored.json: a build/bench.json that was kept, with its machine and date. */
bool stored_find(const workload *w, const char *name, double *ratio, char *note, size_t size);

#endif
