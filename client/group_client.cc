// The client library's methods for groups of jobs.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/job_client.h"
#include "client/job_client_call.h"
#include "common/base/status_macros.h"

namespace galleon {

const absl::Duration JobClient::kCreateGroupTimeout = absl::Seconds(600);

bool names_group(const std::string& name) {
  if (absl::StartsWith(name, "groups/")) return true;
  const size_t mark = name.rfind("-g");
  return mark != std::string::npos && mark > 0 && mark + 2 < name.size() &&
         name.find_first_not_of("0123456789", mark + 2) == std::string::npos && !absl::StartsWith(name, "jobs/");
}

std::string group_name(const std::string& group) {
  return absl::StartsWith(group, "groups/") ? group : "groups/" + group;
}

absl::StatusOr<v1::CreateGroupResponse> JobClient::create_group(const v1::CreateGroupRequest& request) {
  return call<v1::CreateGroupResponse>(kCreateGroupTimeout, [&](auto& context, auto& response) {
    return groups_->CreateGroup(&context, request, &response);
  });
}

absl::StatusOr<v1::Group> JobClient::get_group(const std::string& group) {
  v1::GetGroupRequest request;
  request.set_name(group_name(group));
  return call<v1::Group>(
      kCallTimeout, [&](auto& context, auto& response) { return groups_->GetGroup(&context, request, &response); });
}

absl::StatusOr<std::vector<v1::Group>> JobClient::list_groups() {
  std::vector<v1::Group> all;
  v1::ListGroupsRequest page;
  page.set_page_size(500);
  do {
    ASSIGN_OR_RETURN(v1::ListGroupsResponse response,
                     call<v1::ListGroupsResponse>(kCallTimeout, [&](auto& context, auto& r) {
                       return groups_->ListGroups(&context, page, &r);
                     }));
    all.insert(all.end(), response.groups().begin(), response.groups().end());
    page.set_page_token(response.next_page_token());
  } while (!page.page_token().empty());
  return all;
}

}  // namespace galleon
