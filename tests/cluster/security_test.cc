// Certificates, tokens, roles and the audit log, through a real server.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/commands.h"
#include "client/job_client.h"
#include "common/base/files.h"
#include "common/base/ids.h"
#include "common/base/process.h"
#include "common/net/certificate_expiry.h"
#include "common/net/certificates.h"
#include "common/net/tls_diagnosis.h"
#include "common/net/tls_folder.h"
#include "common/net/tls_watch.h"
#include "server/api/server.h"
#include "tests/cluster/fake_planner.h"
#include "tests/patience.h"
#include "worker/daemon/scheduler_client.h"

namespace galleon {
namespace {

using testing::HasSubstr;
using testing::Not;

class Security : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / absl::StrCat("galleon-security-", random_hex(8))).string();
    std::filesystem::create_directory(folder_);
    ASSERT_NO_FATAL_FAILURE(write_planner(folder_));
    ASSERT_TRUE(init_tls(tls(), {}, absl::Hours(24)).ok());
    for (const char* name : {"ann", "viv", "stranger"}) ASSERT_TRUE(add_client(tls(), name, absl::Hours(24)).ok());
    options_.data = folder_ + "/data";
    options_.listen = "127.0.0.1:0";
    options_.metrics = "127.0.0.1:0";
    options_.planner = folder_ + "/planner";
    options_.tls = tls() + "/server";
    options_.access = folder_ + "/access.yaml";
    options_.scheduler.version = "1";
    options_.scheduler.queues = {{"default", 1, 0, 0, "default"}, {"lab", 1, 0, 0, "science"}};
    ASSERT_TRUE(write_file_atomically(options_.access,
                                      absl::StrCat("principals:\n"
                                                   "  admin: {certificate: admin, roles: {'*': operator}}\n"
                                                   "  worker: {certificate: worker, roles: {'*': worker}}\n"
                                                   "  ann: {certificate: ann, roles: {science: submitter}}\n"
                                                   "  viv: {certificate: viv, roles: {'*': viewer}}\n"
                                                   "  bot: {token_sha256: ",
                                                   sha256_hex("s3cret-token"), ", roles: {science: submitter}}\n"))
                    .ok());
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::string tls() const { return folder_ + "/tls"; }
  void start() {
    absl::StatusOr<std::unique_ptr<server::Server>> started = server::Server::start(options_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    address_ = absl::StrCat("127.0.0.1:", server_->address().substr(server_->address().rfind(':') + 1));
  }
  std::unique_ptr<JobClient> client(const std::string& name) const {
    const absl::StatusOr<TlsFolder> folder = load_tls_folder(absl::StrCat(tls(), "/", name));
    EXPECT_TRUE(folder.ok()) << folder.status();
    return std::make_unique<JobClient>(address_, channel_credentials(*folder));
  }
  static v1::CreateJobRequest job(const std::string& queue) {
    v1::CreateJobRequest request;
    request.mutable_job()->set_name("x");
    request.mutable_job()->mutable_shape()->set_architecture("llama");
    request.mutable_job()->mutable_scheduling()->set_queue(queue);
    return request;
  }

  std::string folder_;
  std::string address_;
  server::ServerOptions options_;
  std::unique_ptr<server::Server> server_;
};

TEST_F(Security, BeyondLoopbackAServerNeedsTls) {
  options_.tls.clear();
  options_.access.clear();
  options_.listen =
      "192.0.2.1:0";  // for documentation (RFC 5737): no machine has it, so that nothing could listen there
  const absl::Status refused = server::Server::start(options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("galleon admin init-tls"));
}

TEST_F(Security, RolesAreHeldByProject) {
  start();
  auto ann = client("ann");
  const absl::StatusOr<v1::JobRecord> made = ann->create_job(job("lab"));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->owner(), "ann");
  const absl::Status elsewhere = ann->create_job(job("default")).status();
  EXPECT_EQ(elsewhere.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(elsewhere.message(), "ann is not a submitter of project default");
  auto viv = client("viv");
  EXPECT_TRUE(viv->get_job(made->job_id()).ok());
  EXPECT_EQ(viv->cancel_job(made->job_id(), "").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(viv->order_worker("w", v1::Worker::DRAINING, "").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ann->backup(folder_ + "/stolen").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/stolen"));
  // A worker's certificate opens nothing for users, and a user's nothing for workers.
  EXPECT_EQ(client("worker")->get_job(made->job_id()).status().code(), absl::StatusCode::kPermissionDenied);
  const absl::StatusOr<TlsFolder> folder = load_tls_folder(tls() + "/ann");
  SchedulerClient daemon(address_, channel_credentials(*folder));
  EXPECT_EQ(daemon.register_worker({}).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(client("admin")->cancel_job(made->job_id(), "").ok());
  // What others run is not in the list of those who may not see it.
  ASSERT_TRUE(client("admin")->create_job(job("default")).ok());
  EXPECT_EQ(ann->list_jobs({})->size(), 1U);
  EXPECT_EQ(viv->list_jobs({})->size(), 2U);
}

TEST_F(Security, AForeignGroupDoesNotExist) {
  start();
  v1::CreateGroupRequest request;
  request.set_group_name("x");
  *request.add_members()->mutable_job() = job("default").job();
  request.mutable_members(0)->add_settings()->set_key("model.seed");
  auto admin = client("admin");
  const absl::StatusOr<v1::CreateGroupResponse> made = admin->create_group(request);
  ASSERT_TRUE(made.ok()) << made.status();
  const std::string id = made->group().group_id();
  auto ann = client("ann");
  const absl::Status foreign = ann->get_group(id).status();
  EXPECT_EQ(foreign.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(foreign.message(), "there is no group groups/" + id);
  EXPECT_TRUE(ann->list_groups()->empty());
  v1::ListJobsRequest members;
  members.set_group(id);
  EXPECT_EQ(ann->list_jobs(members).status().message(), foreign.message());
  EXPECT_EQ(ann->create_group(request).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(client("viv")->get_group(id)->owner(), "admin");
  EXPECT_EQ(client("viv")->list_groups()->size(), 1U);
}

TEST_F(Security, OrdersForJobsAreForSubmittersOfTheirProjectAndWorkersForOperators) {
  start();
  auto ann = client("ann");
  auto viv = client("viv");
  const std::string id = ann->create_job(job("lab"))->job_id();
  const auto denied = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
    EXPECT_EQ(status.message(), "viv is not a submitter");
  };
  v1::HoldJobRequest hold;
  v1::ReleaseJobRequest release;
  v1::RequeueJobRequest requeue;
  v1::ResumeJobRequest resume;
  v1::DeleteJobRequest remove;
  for (std::string* name : {hold.mutable_name(), release.mutable_name(), requeue.mutable_name(), resume.mutable_name(),
                            remove.mutable_name()})
    *name = "jobs/" + id;
  denied(viv->hold_job(hold).status());
  denied(viv->release_job(release).status());
  denied(viv->requeue_job(requeue).status());
  denied(viv->resume_job(resume).status());
  denied(viv->delete_job(remove).status());
  EXPECT_TRUE(ann->hold_job(hold).ok());
  EXPECT_EQ(ann->forget_worker("w").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(client("admin")->forget_worker("w").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(ann->cancel_job(id, "").ok());
  EXPECT_TRUE(ann->delete_job(remove).ok());
  // Nobody begins with the checkpoint of a job that she may not see.
  const std::string others = client("admin")->create_job(job("default"))->job_id();
  hold.set_name(others);
  EXPECT_EQ(ann->hold_job(hold).status().message(), "there is no job jobs/" + others);
  v1::CreateJobRequest request = job("lab");
  request.mutable_job()->mutable_checkpoint()->set_resume("../" + others + "/checkpoints/step-00000001");
  const absl::Status refused = ann->create_job(request).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(), "checkpoint.resume: ../" + others + "/checkpoints/step-00000001 lies in the folder of " +
                                   others + ", which is no job of the list");
  server_.reset();
  const std::string log = *read_file(folder_ + "/data/audit.jsonl");
  for (const char* method : {"HoldJob", "ReleaseJob", "RequeueJob", "ResumeJob", "DeleteJob"}) {
    EXPECT_THAT(log, HasSubstr(absl::StrCat("\"caller\":\"viv\"")));
    EXPECT_THAT(log, HasSubstr(absl::StrCat("\"method\":\"", method, "\",\"resource\":\"jobs/", id,
                                            "\",\"result\":\"PERMISSION_DENIED\"")));
  }
  EXPECT_THAT(log, HasSubstr("\"method\":\"ForgetWorker\",\"resource\":\"workers/w\",\"result\":\"NOT_FOUND\""));
}

TEST_F(Security, ATokenIsAsGoodAsACertificateAndAWrongOneIsRefused) {
  start();
  std::filesystem::create_directory(tls() + "/bot");
  std::filesystem::copy_file(tls() + "/authority/cert.pem", tls() + "/bot/ca.pem");
  ASSERT_TRUE(write_secret(tls() + "/bot/token", "s3cret-token\n").ok());
  EXPECT_TRUE(client("bot")->create_job(job("lab")).ok());
  ASSERT_TRUE(write_secret(tls() + "/bot/token", "guess").ok());
  const absl::Status refused = client("bot")->create_job(job("lab")).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("guess")));
}

TEST_F(Security, UnknownForeignExpiredAndMissingCertificatesAreRefused) {
  start();
  EXPECT_EQ(client("stranger")->list_workers().status().code(), absl::StatusCode::kUnauthenticated);
  // Another authority's, under a name that is known here.
  ASSERT_TRUE(init_tls(folder_ + "/other", {}, absl::Hours(24)).ok());
  TlsFolder foreign = *load_tls_folder(folder_ + "/other/admin");
  foreign.authority = load_tls_folder(tls() + "/admin")->authority;
  EXPECT_FALSE(JobClient(address_, channel_credentials(foreign)).list_workers().ok());
  const KeyPair authority{*read_file(tls() + "/authority/cert.pem"), *read_file(tls() + "/authority/key.pem")};
  const absl::StatusOr<KeyPair> old =
      make_certificate(authority, "admin", {}, absl::Now() - absl::Hours(48), absl::Now() - absl::Hours(24));
  ASSERT_TRUE(old.ok());
  EXPECT_FALSE(JobClient(address_, channel_credentials({authority.certificate, old->certificate, old->key, ""}))
                   .list_workers()
                   .ok());
  EXPECT_EQ(
      JobClient(address_, channel_credentials({authority.certificate, "", "", ""})).list_workers().status().code(),
      absl::StatusCode::kUnauthenticated);
  // Nor does a client speak to a server of another authority, or without TLS.
  EXPECT_FALSE(
      JobClient(address_, channel_credentials(*load_tls_folder(folder_ + "/other/admin"))).list_workers().ok());
  EXPECT_FALSE(JobClient(address_).list_workers().ok());
  EXPECT_TRUE(client("admin")->list_workers().ok());
}

TEST_F(Security, EveryChangeIsInTheAuditLogAndNoSecretIs) {
  start();
  (void)client("ann")->create_job(job("lab"));
  (void)client("viv")->cancel_job("x-1", "");
  (void)client("ann")->cancel_job("x-1", "");
  server_.reset();
  const std::string log = *read_file(folder_ + "/data/audit.jsonl");
  EXPECT_THAT(log, HasSubstr("\"caller\":\"ann\""));
  EXPECT_THAT(log, HasSubstr("\"method\":\"CreateJob\",\"resource\":\"jobs/x-1\",\"result\":\"OK\""));
  EXPECT_THAT(log, HasSubstr("\"method\":\"CancelJob\",\"resource\":\"jobs/x-1\",\"result\":\"PERMISSION_DENIED\""));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 3);
  EXPECT_THAT(log, Not(HasSubstr("PRIVATE")));
  struct stat info {};
  ASSERT_EQ(::stat((folder_ + "/data/audit.jsonl").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0077, 0U);
}

TEST_F(Security, ACallerThatCallsTooOftenIsToldTheLimitAndOthersAreNotSlowed) {
  options_.requests_per_second = 5;
  start();
  auto ann = client("ann");
  absl::Status last;
  for (int i = 0; i < 30 && last.ok(); ++i) last = ann->list_queues().status();
  EXPECT_EQ(last.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(last.message(), "ann calls more often than 5 times a second; slow down");
  EXPECT_TRUE(client("viv")->list_queues().ok());
}

TEST_F(Security, KeysThatOthersMayReadAreRefused) {
  struct stat info {};
  ASSERT_EQ(::stat((tls() + "/admin/key.pem").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0077, 0U);
  ::chmod((tls() + "/admin/key.pem").c_str(), 0644);
  EXPECT_EQ(load_tls_folder(tls() + "/admin").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(init_tls(tls(), {}, absl::Hours(1)).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(Security, TheClientSaysInWordsWhatIsWrongWithACertificate) {
  start();
  const auto said = [&](const std::string& folder) {
    std::vector<std::string> command = {absl::StrCat(GALLEON_BINARY_DIR, "/galleon"), "list", "--server", address_};
    if (!folder.empty()) command.insert(command.end(), {"--tls", folder});
    const absl::StatusOr<CommandResult> result = run_command(command, kPatience);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->exit.code, 1);
    EXPECT_EQ(std::count(result->err.begin(), result->err.end(), '\n'), 1) << result->err;
    return result->err;
  };
  const std::string there = absl::StrCat("galleon: cannot speak with the scheduler at ", address_, ": ");
  EXPECT_EQ(said(""), there + "it speaks TLS; give --tls FOLDER or GALLEON_TLS\n");
  const std::string foreign = folder_ + "/foreign";
  ASSERT_TRUE(init_tls(foreign, {}, absl::Hours(24)).ok());
  EXPECT_EQ(said(foreign + "/admin"),
            absl::StrCat(there, "its certificate is of another authority than ", foreign, "/admin/ca.pem\n"));
  // It trusts the server, and the server does not trust it.
  std::filesystem::copy_file(tls() + "/admin/ca.pem", foreign + "/admin/ca.pem",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_EQ(said(foreign + "/admin"),
            absl::StrCat(there, "it hangs up at ", foreign,
                         "/admin/cert.pem, which is likely of another authority than its own\n"));
  ASSERT_TRUE(add_client(tls(), "old", -absl::Hours(1)).ok());
  EXPECT_THAT(said(tls() + "/old"), HasSubstr(absl::StrCat(tls(), "/old/cert.pem has expired on 20")));
}

TEST_F(Security, AnExpiredCertificateOfTheServerIsCalledExpired) {
  const std::string late = folder_ + "/late";
  ASSERT_TRUE(init_tls(late, {}, -absl::Minutes(10)).ok());
  options_.tls = late + "/server";
  start();
  TlsFolder authority_alone;
  authority_alone.authority = *read_file(late + "/admin/ca.pem");
  EXPECT_THAT(explain_tls(address_, authority_alone, late + "/admin"), HasSubstr("its certificate has expired on 20"));
}

class Reloaded : public Security {
 protected:
  void SetUp() override {
    Security::SetUp();
    options_.queues = folder_ + "/queues.yaml";
    write_queues("queues: {default: {}, lab: {project: science}}\n");
    start();
  }
  void write_queues(const std::string& text) { ASSERT_TRUE(write_file_atomically(options_.queues, text).ok()); }
  std::string access_file() const { return *read_file(options_.access); }
  void write_access(const std::string& text) { ASSERT_TRUE(write_file_atomically(options_.access, text).ok()); }
  static std::string without(const std::string& text, const std::string& line_of) {
    const size_t at = text.find("  " + line_of + ":");
    return text.substr(0, at) + text.substr(text.find('\n', at) + 1);
  }
};

TEST_F(Reloaded, AFaultInOneFileLeavesAllAsTheyWere) {
  const auto admin = client("admin");
  write_queues("queues: {default: {}}\n");
  const std::string access = access_file();
  write_access(without(access, "ann") + "  eve: {certificate: eve, roles: {science: king}}\n");
  const absl::Status refused = admin->reload(false).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(options_.access + ":6: eve.roles.science: \"king\" is not a role"));
  EXPECT_TRUE(client("ann")->create_job(job("lab")).ok());
  // So does a certificate that is not whole.
  write_access(without(access, "ann"));
  ASSERT_TRUE(write_file_atomically(options_.tls + "/cert.pem", "").ok());
  EXPECT_THAT(std::string(admin->reload(false).status().message()), HasSubstr("/server/cert.pem is empty"));
  EXPECT_TRUE(client("ann")->create_job(job("lab")).ok());
}

TEST_F(Reloaded, JobsOfAQueueThatIsTakenOutStayWithThoseOfTheirProject) {
  const auto admin = client("admin");
  const absl::StatusOr<v1::JobRecord> made = client("ann")->create_job(job("lab"));
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE(add_client(tls(), "dee", absl::Hours(24)).ok());
  write_access(access_file() + "  dee: {certificate: dee, roles: {default: operator}}\n");
  write_queues("queues: {default: {}}\n");
  const absl::StatusOr<v1::ReloadResponse> compared = admin->reload(true);
  ASSERT_TRUE(compared.ok()) << compared.status();
  EXPECT_EQ(client("dee")->list_jobs({}).status().code(), absl::StatusCode::kUnauthenticated);
  const absl::StatusOr<v1::ReloadResponse> response = admin->reload(false);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->SerializeAsString(), compared->SerializeAsString());
  ASSERT_EQ(response->queues().removed_size(), 1);
  EXPECT_EQ(response->queues().removed(0), "lab");
  ASSERT_EQ(response->principals().added_size(), 1);
  EXPECT_EQ(response->principals().added(0), "dee");
  EXPECT_THAT(std::string(client("ann")->get_job(made->job_id())->message()), HasSubstr("it stays in project science"));
  // Who runs the project "default" has no more to do with it than before.
  const auto dee = client("dee");
  EXPECT_EQ(dee->get_job(made->job_id()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(dee->cancel_job(made->job_id(), "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(dee->list_jobs({})->empty());
  EXPECT_TRUE(client("ann")->cancel_job(made->job_id(), "").ok());
  server_.reset();
  EXPECT_THAT(*read_file(options_.data + "/audit.jsonl"),
              HasSubstr("\"method\":\"Reload\",\"resource\":\"queues: removed lab; principals: added dee\""));
}

TEST_F(Reloaded, WhoIsTakenOutIsRefusedAtOnceAndItsOpenStreamsEnd) {
  const absl::StatusOr<v1::JobRecord> made = client("ann")->create_job(job("lab"));
  ASSERT_TRUE(made.ok()) << made.status();
  const absl::StatusOr<TlsFolder> folder = load_tls_folder(tls() + "/ann");
  const auto jobs = v1::JobService::NewStub(grpc::CreateChannel(address_, channel_credentials(*folder)));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  v1::WatchJobRequest request;
  request.set_name(made->name());
  const auto watch = jobs->WatchJob(&context, request);
  v1::WatchJobResponse first;
  ASSERT_TRUE(watch->Read(&first));
  EXPECT_EQ(client("ann")->reload(false).status().code(), absl::StatusCode::kPermissionDenied);
  write_access(without(access_file(), "ann"));
  ASSERT_TRUE(client("admin")->reload(false).ok());
  while (watch->Read(&first)) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::UNAUTHENTICATED);
  EXPECT_EQ(client("ann")->get_job(made->job_id()).status().code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(Security, MetricsTellWhenTheCertificateEnds) {
  start();
  const absl::StatusOr<absl::Time> end = certificate_expiry(*read_file(options_.tls + "/cert.pem"));
  ASSERT_TRUE(end.ok());
  EXPECT_GT(*end, absl::Now() + absl::Hours(23));
  EXPECT_LT(*end, absl::Now() + absl::Hours(25));
  class Nothing final : public prometheus::Collectable {
    std::vector<prometheus::MetricFamily> Collect() const override { return {}; }
  };
  const auto watch = TlsWatch::start(options_.tls);
  ASSERT_TRUE(watch.ok()) << watch.status();
  const WithCertificate collected(std::make_shared<Nothing>(), watch->get());
  const auto families = collected.Collect();
  ASSERT_EQ(families.size(), 2U);
  EXPECT_EQ(families[0].name, "galleon_certificate_expiry_timestamp_seconds");
  EXPECT_EQ(families[0].metric[0].gauge.value, static_cast<double>(absl::ToUnixSeconds(*end)));
  EXPECT_EQ(families[1].name, "galleon_certificate_refused");
  EXPECT_EQ(families[1].metric[0].gauge.value, 0);
  // The end of the one that is in use, whatever lies in the folder.
  ASSERT_TRUE(write_file_atomically(options_.tls + "/cert.pem", "").ok());
  EXPECT_FALSE((*watch)->refresh().ok());
  EXPECT_EQ(collected.Collect()[0].metric[0].gauge.value, static_cast<double>(absl::ToUnixSeconds(*end)));
  EXPECT_EQ(collected.Collect()[1].metric[0].gauge.value, 1);
}

}  // namespace
}  // namespace galleon
