/* Interruption: once for a clean end with a checkpoint, twice for an end at once. And what becomes of
 * a model file that somebody shortens while it is mapped. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t announced;

/* `timeout` signals a process and then its group, this process too: what comes within a fifth of a
 * second is still the first interruption. */
#define SAME_INTERRUPTION_MS 200
static int64_t first_ms; /* of the handler alone; SIGINT and SIGTERM block each other */

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void on_signal(int signal_number) {
    if (!interrupted)
        first_ms = now_ms();
    else if (now_ms() - first_ms >= SAME_INTERRUPTION_MS)
        _exit(CLOZE_ERR_INTERRUPTED);
    interrupted = 1;
}

/* Weights are read from the mapped file when they are needed; by then it may have been written over,
 * or its disk may have failed. All that a handler can do is to say so. */
static void on_lost_file(int signal_number) {
    static const char message[] =
        "cloze: a file that is in use was shortened, or its disk failed; do not write over the files "
        "of a model while it is in use\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    _exit(CLOZE_ERR_IO);
}

void signals_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = on_lost_file;
    sigaction(SIGBUS, &action, NULL);
    action.sa_handler = SIG_IGN; /* a closed pipe is a failed write, with a message */
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL); /* so is a file that may not grow */
}

int signals_interrupted(void *user) {
    if (interrupted && !announced) {
        announced = 1;
        terminal_log(NULL, CLOZE_LOG_INFO,
                     "Interrupted: finishing cleanly (once more to stop at once)");
    }
    return interrupted;
}
