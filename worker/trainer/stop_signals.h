// SIGTERM, SIGINT and SIGUSR1 ask a trainer to stop with a checkpoint at the end of its step. Slurm sends the last one
// to all processes of a job where it is told so (--signal=USR1@120).
//
// No handler may interrupt a thread that computes: oneDNN's generated products use the stack pointer as one more
// register, and the frame of a handler would be written over the numbers or the heap that it points to.
#pragma once

namespace galleon {

// Call before any thread that computes is started. SIGPIPE is ignored from here on.
void keep_stop_signals();

// Whether one has come.
bool stop_signalled();

}  // namespace galleon
