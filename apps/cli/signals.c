/* Interruption: once for a clean end with a checkpoint, twice for an end at once. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t announced;

static void on_signal(int signal_number) {
    if (interrupted) _exit(CLOZE_ERR_INTERRUPTED);
    interrupted = 1;
}

void signals_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
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
