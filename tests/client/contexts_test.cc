// Contexts: servers under names, and which one a command means.
#include "client/contexts.h"

#include <sys/stat.h>

#include "tests/client/fake_service.h"
#include "tests/client/galleon_program.h"

namespace galleon {
namespace {

using testing::HasSubstr;

class ContextCommands : public GalleonProgram {
 protected:
  ContextCommands() { ::setenv("GALLEON_CONFIG", path().c_str(), 1); }
  ~ContextCommands() override {
    for (const char* name : {"GALLEON_CONFIG", "GALLEON_CONTEXT", "GALLEON_SERVER"}) ::unsetenv(name);
  }
  std::string path() const { return folder_ + "/config/galleon.yaml"; }
  std::string refused(const std::string& yaml) {
    EXPECT_TRUE(make_folders(folder_ + "/config").ok());
    EXPECT_TRUE(write_file_atomically(path(), yaml).ok());
    const absl::StatusOr<Contexts> contexts = load_contexts(path());
    EXPECT_FALSE(contexts.ok()) << yaml;
    return std::string(contexts.status().message()).substr(path().size());
  }
};

TEST_F(ContextCommands, TheCurrentOneIsMeantWhereNoServerIsNamed) {
  FakeService service;
  service.jobs = {record_of(v1::JobRecord::RUNNING)};
  EXPECT_EQ(galleon({"config", "current-context"}).exit.code, 1);
  CommandResult made = galleon({"config", "set-context", "lab", "--server", service.address()});
  EXPECT_EQ(made.exit.code, 0) << made.err;
  EXPECT_EQ(made.out, absl::StrCat("added lab: ", service.address(), ", without TLS; it is the current one\n"));
  struct stat info {};
  ASSERT_EQ(::stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(galleon({"config", "set-context", "far", "--server", "127.0.0.1:1"}).exit.code, 0);
  EXPECT_EQ(galleon({"config", "current-context"}).out, "lab\n");
  EXPECT_THAT(galleon({"list"}).out, HasSubstr("a-1"));

  EXPECT_EQ(galleon({"config", "use-context", "far"}).exit.code, 0);
  EXPECT_THAT(galleon({"config", "get-contexts"}).out, HasSubstr("*        far"));
  EXPECT_THAT(galleon({"list", "--context", "lab"}).out, HasSubstr("a-1"));
  EXPECT_THAT(galleon({"--context", "lab", "list"}).out, HasSubstr("a-1"));
  EXPECT_THAT(galleon({"list", "--server", service.address()}).out, HasSubstr("a-1"));
  EXPECT_THAT(galleon({"list", "--context", "far", "--server", service.address()}).out, HasSubstr("a-1"));
  ::setenv("GALLEON_CONTEXT", "lab", 1);
  EXPECT_THAT(galleon({"list"}).out, HasSubstr("a-1"));
  ::unsetenv("GALLEON_CONTEXT");
  ::setenv("GALLEON_SERVER", service.address().c_str(), 1);
  EXPECT_THAT(galleon({"list"}).out, HasSubstr("a-1")) << "the environment names a server";
  ::unsetenv("GALLEON_SERVER");
  const CommandResult none = galleon({"list", "--context", "home"});
  EXPECT_EQ(none.exit.code, 2);
  EXPECT_THAT(none.err, HasSubstr("there is no context \"home\"; there are far, lab"));

  EXPECT_EQ(galleon({"config", "delete-context", "far"}).out, "deleted far, which was the current one\n");
  EXPECT_EQ(galleon({"config", "delete-context", "far"}).exit.code, 1);
}

TEST_F(ContextCommands, WhatCannotBeIsRefusedAndChangesNothing) {
  EXPECT_THAT(galleon({"config", "set-context", "a/b", "--server", "x:1"}).err, HasSubstr("\"a/b\" is not a name"));
  EXPECT_THAT(galleon({"config", "set-context", "a"}).err, HasSubstr("a new context needs --server HOST:PORT"));
  EXPECT_THAT(galleon({"config", "set-context", "a", "--server", "x:1", "--tls", folder_}).err, HasSubstr("ca.pem"));
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_EQ(galleon({"config"}).exit.code, 2);
}

TEST_F(ContextCommands, AFileWithAFaultIsNamedWithItsLine) {
  EXPECT_EQ(refused("[]"), ":1: a mapping with \"contexts\" is expected");
  EXPECT_EQ(refused("contexts: {}\nnow: x"), ":2: there is no key \"now\"; there are current, contexts");
  EXPECT_EQ(refused("contexts:\n  a: {server: x, port: 1}"),
            ":2: contexts.a has no key \"port\"; there are server, tls");
  EXPECT_EQ(refused("contexts:\n  a: {}"), ":2: contexts.a.server: must be given, as HOST:PORT");
  EXPECT_EQ(refused("current: b\ncontexts:\n  a: {server: x}"), ":1: current: there is no context \"b\"");
  EXPECT_THAT(refused("contexts: ["), HasSubstr(":1: "));
  // Who needs no scheduler is not kept from work by it.
  EXPECT_EQ(galleon({"job-file"}).exit.code, 0);
  EXPECT_EQ(galleon({"list"}).exit.code, 2);
}

}  // namespace
}  // namespace galleon
