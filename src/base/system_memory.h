/* How much memory the machine has left, and how much this process holds. */
#ifndef CLOZE_BASE_SYSTEM_MEMORY_H
#define CLOZE_BASE_SYSTEM_MEMORY_H

#include <stdint.h>

/* Bytes that new allocations may take without swapping: the kernel's estimate, or what a
 * container's limit leaves when that is less. -1 when the system does not say. */
int64_t system_memory_available(void);
/* Resident bytes of this process now; -1 when the system does not say. */
int64_t process_memory(void);

#endif
