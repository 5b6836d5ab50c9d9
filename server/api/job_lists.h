// Lists of jobs. The thread that decides only picks who is listed, a little at a time; what has ended is read and
// written out by others.
#pragma once

#include "galleon/v1/jobs.pb.h"
#include "server/api/readers.h"
#include "server/api/unary.h"

namespace galleon::server {

// Newest first; the token is the number of the last job of the page before. `request` and `response` live until the
// call is answered.
void list_jobs(const Unary& call, Readers& readers, const v1::ListJobsRequest& request, v1::ListJobsResponse& response);

}  // namespace galleon::server
