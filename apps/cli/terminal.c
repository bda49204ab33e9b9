/*
 * Progress and log lines on standard error.
 *
 * On a terminal there is one bar in the last line, redrawn at most ten times a second and never
 * wider than the terminal; log lines are put above it. A task may begin within another (evaluation
 * while training): its bar takes the place of the outer one, which comes back afterwards. Elsewhere
 * (a file, a pipe) progress is a plain line every tenth of the work or every half minute.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>

#include "cli.h"

#define REDRAW_SECONDS 0.1
#define PLAIN_SECONDS 30.0    /* at least one plain line in this time */
#define PLAIN_MIN_SECONDS 2.0 /* and no two within this one */
#define DEPTH_MAX 4           /* tasks within tasks */
#define BAR_COLUMNS 30
#define BAR_MIN 10
#define NARROW 40 /* columns below which there is no bar */

typedef struct task {
    char name[32], unit[32];
    cloze_progress state; /* its pointers are name and unit */
    double last_plain;    /* seconds of the task at its last plain line */
    int64_t tenths;       /* tenths of the work told so far */
} task;

static struct {
    bool is_terminal, show_progress;
    bool drawn; /* a bar stands in the last line */
    double last_drawn;
    task tasks[DEPTH_MAX]; /* the current one last */
    int n_tasks;
} term;

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void terminal_init(bool show_progress) {
    const char *kind = getenv("TERM");
    term.is_terminal = isatty(STDERR_FILENO) && !(kind && strcmp(kind, "dumb") == 0);
    term.show_progress = show_progress;
}

static int terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

int text_width(const char *text) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    int width = 0;
    while (*at) {
        utf8proc_int32_t code_point;
        utf8proc_ssize_t n = utf8proc_iterate(at, -1, &code_point);
        width += n > 0 ? utf8proc_charwidth(code_point) : 1;
        at += n > 0 ? n : 1;
    }
    return width;
}

/* ---- the parts of a bar ---- */

static void format_time(char *out, size_t size, double seconds) {
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
}

static const char *plural(const char *unit) {
    size_t n = strlen(unit);
    return n >= 2 && strcmp(unit + n - 2, "ch") == 0 ? "es" : "s";
}

/* Units a second since the task began. */
static double speed(const cloze_progress *p) {
    return p->seconds > 0 ? (double)p->done / p->seconds : 0;
}

/* Appends a field behind two blanks when the line stays within `columns`. */
static void add_field(char *line, size_t size, int columns, const char *field) {
    size_t n = strlen(line);
    if (text_width(line) + 2 + text_width(field) > columns) return;
    snprintf(line + n, size - n, "  %s", field);
}

#define N_FIELDS 4
typedef struct fields {
    char text[N_FIELDS][96]; /* time, loss, speed, rate: the most wanted first; "" = none */
} fields;

/* brief: only the time that is left, where both do not fit. */
static void make_fields(const cloze_progress *p, bool brief, fields *f) {
    char time[32], left[32];
    double units = speed(p);
    memset(f, 0, sizeof *f);
    format_time(time, sizeof time, p->seconds);
    if (p->finished || p->total <= 0 || units <= 0) {
        snprintf(f->text[0], sizeof f->text[0], "%s", time);
    } else {
        format_time(left, sizeof left, (double)(p->total - p->done) / units);
        snprintf(f->text[0], sizeof f->text[0], "%s%s%s left", brief ? "" : time, brief ? "" : ", ",
                 left);
    }
    if (isfinite(p->loss)) snprintf(f->text[1], sizeof f->text[1], "loss %.4f", p->loss);
    if (isfinite(p->samples_per_second))
        snprintf(f->text[2], sizeof f->text[2], "%.1f samples/s", p->samples_per_second);
    else if (units > 0)
        snprintf(f->text[2], sizeof f->text[2], units < 10 ? "%.1f %s%s/s" : "%.0f %s%s/s", units,
                 p->unit, plural(p->unit));
    if (isfinite(p->rate)) snprintf(f->text[3], sizeof f->text[3], "rate %.1e", p->rate);
}

static int fields_width(const fields *f) {
    int width = 0;
    for (int i = 0; i < N_FIELDS; i++)
        if (f->text[i][0]) width += 2 + text_width(f->text[i]);
    return width;
}

/* As many of them as fit. */
static void add_fields(const fields *f, char *line, size_t size, int columns) {
    for (int i = 0; i < N_FIELDS; i++)
        if (f->text[i][0]) add_field(line, size, columns, f->text[i]);
}

static void format_count(const cloze_progress *p, char *out, size_t size) {
    if (p->total > 0)
        snprintf(out, size, "%lld/%lld", (long long)p->done, (long long)p->total);
    else
        snprintf(out, size, "%lld %s%s", (long long)p->done, p->unit, plural(p->unit));
}

/* ---- on a terminal ---- */

void terminal_clear(void) {
    if (!term.drawn) return;
    fputs("\r\033[K", stderr);
    term.drawn = false;
}

/* "  [####----]" of so many cells. */
static void add_bar(const cloze_progress *p, int width, char *line, size_t size, int columns) {
    char bar[BAR_COLUMNS + 3] = "[";
    int64_t done = p->done < p->total ? p->done : p->total;
    int full = (int)((double)done / (double)p->total * width);
    for (int i = 0; i < width; i++) bar[i + 1] = i < full ? '#' : '-';
    bar[width + 1] = ']';
    bar[width + 2] = 0;
    add_field(line, size, columns, bar);
}

/* The bar takes what the fields leave, and at least BAR_MIN cells on terminals of usual width: then
 * the least wanted fields go. */
static void draw(const task *t) {
    const cloze_progress *p = &t->state;
    char line[512], count[64];
    fields f;
    int columns = terminal_columns() - 1; /* a full last column would wrap */
    format_count(p, count, sizeof count);
    snprintf(line, sizeof line, "%s", t->name);
    int room = columns - text_width(line) - 2 - (int)strlen(count) - 4;
    make_fields(p, false, &f);
    if (room - fields_width(&f) < BAR_MIN) make_fields(p, true, &f);
    if (p->total > 0 && columns >= NARROW) {
        int width = room - fields_width(&f);
        if (width > BAR_COLUMNS) width = BAR_COLUMNS;
        add_bar(p, width > BAR_MIN ? width : BAR_MIN, line, sizeof line, columns);
    }
    add_field(line, sizeof line, columns, count);
    add_fields(&f, line, sizeof line, columns);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    term.drawn = true;
    term.last_drawn = now_seconds();
}

static void draw_current(bool at_once) {
    if (term.n_tasks == 0) return;
    if (at_once || now_seconds() - term.last_drawn >= REDRAW_SECONDS)
        draw(&term.tasks[term.n_tasks - 1]);
}

/* ---- elsewhere ---- */

static void plain_line(task *t) {
    const cloze_progress *p = &t->state;
    int64_t tenths = p->total > 0 ? p->done * 10 / p->total : 0;
    double since = p->seconds - t->last_plain;
    bool due = since >= PLAIN_SECONDS;
    if (t == &term.tasks[0] && !due) /* a task within another is told only when it takes long */
        due = since >= PLAIN_MIN_SECONDS && (tenths > t->tenths || p->finished);
    if (!due) return;
    char line[512], count[64];
    format_count(p, count, sizeof count);
    snprintf(line, sizeof line, "%s", t->name);
    if (p->total > 0) {
        char percent[32];
        snprintf(percent, sizeof percent, "%.0f %%", 100.0 * (double)p->done / (double)p->total);
        add_field(line, sizeof line, 400, percent);
    }
    add_field(line, sizeof line, 400, count);
    fields f;
    make_fields(p, false, &f);
    add_fields(&f, line, sizeof line, 400);
    fprintf(stderr, "%s\n", line);
    t->last_plain = p->seconds;
    t->tenths = tenths;
}

/* ---- callbacks ---- */

/* The task of a report: the current one, or a new one within it. */
static task *find_task(const cloze_progress *p) {
    if (term.n_tasks > 0 && strcmp(term.tasks[term.n_tasks - 1].name, p->task) == 0)
        return &term.tasks[term.n_tasks - 1];
    /* a task whose end was never reported (it failed) goes when an outer one reports again */
    for (int i = term.n_tasks - 2; i >= 0; i--) {
        if (strcmp(term.tasks[i].name, p->task) != 0) continue;
        term.n_tasks = i + 1;
        return &term.tasks[i];
    }
    if (term.n_tasks == DEPTH_MAX) return NULL;
    task *t = &term.tasks[term.n_tasks++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", p->task);
    snprintf(t->unit, sizeof t->unit, "%s", p->unit);
    return t;
}

void terminal_progress(void *user, const cloze_progress *progress) {
    if (!term.show_progress) return;
    task *t = find_task(progress);
    if (!t) return;
    t->state = *progress;
    t->state.task = t->name;
    t->state.unit = t->unit;
    if (!term.is_terminal) {
        plain_line(t);
    } else if (!progress->finished) {
        draw_current(progress->done == 0);
    } else if (term.n_tasks == 1) {
        draw(t); /* the last state of an outermost task stays on the screen */
        fputc('\n', stderr);
        term.drawn = false;
    } else {
        terminal_clear();
    }
    if (progress->finished) {
        term.n_tasks--;
        if (term.is_terminal) draw_current(true);
    }
}

void terminal_log(void *user, cloze_log_level level, const char *line) {
    if (level == CLOZE_LOG_DEBUG && !getenv("CLOZE_VERBOSE")) return;
    bool drawn = term.drawn;
    terminal_clear();
    fprintf(stderr, "%s%s\n", level == CLOZE_LOG_WARN ? "warning: " : "", line);
    if (drawn) draw_current(true);
}
