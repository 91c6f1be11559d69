//! What is known of programs: which do no harm, which options make others run or write something
//! else, and which run what they are given. A table, and the few functions that read it. Pure.
//!
//! An entry here is a promise about every version of a program: where versions differ, the entry
//! holds for the worst. `docs/policy.md` lists the programs; a test compares.

use super::shell::Word;

/// Programs that read, print and compute, whatever their arguments: no option of theirs writes a
/// file, runs a program or opens a connection.
#[rustfmt::skip]
pub const HARMLESS: &[&str] = &[
    "b2sum", "basename", "cat", "cksum", "cmp", "column", "comm", "cut", "df", "diff", "dirname",
    "du", "echo", "egrep", "expand", "expr", "factor", "false", "fgrep", "fmt", "fold", "free",
    "getconf", "grep", "groups", "head", "hexdump", "id", "join", "jq", "look", "ls", "lsblk",
    "lscpu", "md5sum", "nl", "nproc", "numfmt", "od", "paste", "pgrep", "pr", "printenv", "ps",
    "pwd", "readlink", "realpath", "rev", "seq", "sha1sum", "sha224sum", "sha256sum", "sha384sum",
    "sha512sum", "sleep", "stat", "strings", "sum", "tac", "tail", "tr", "true", "tsort", "tty",
    "type", "uname", "unexpand", "uptime", "users", "wc", "which", "whoami",
];

/// They run the command, or the script, in their arguments, their input or a file: whoever allows
/// them allows everything. No pattern does.
#[rustfmt::skip]
pub const RUNNERS: &[&str] = &[
    // Wrappers.
    "abduco", "at", "autossh", "aws-vault", "batch", "bwrap", "capsh", "catchsegv", "cgexec",
    "chamber", "choom", "chpst", "chronic", "chroot", "chrt", "concurrently", "cpulimit",
    "crontab", "daemonize", "dbus-launch", "dbus-run-session", "detach", "direnv", "doas",
    "doppler", "dotenv", "dtach", "dumb-init", "eatmydata", "entr", "env", "envchain", "execlineb",
    "expect", "fakeroot", "faketime", "firejail", "flock", "foreman", "fzf", "gdb", "gosu",
    "honcho", "hyperfine", "i386", "ifne", "ionice", "ldd", "linux32", "linux64", "lldb",
    "logsave", "ltrace", "lxc-attach", "machinectl", "mosh", "newgrp", "nice", "nodemon", "nohup",
    "nsenter", "numactl", "parallel", "pee", "perf", "pidproxy", "pkexec", "pm2", "prlimit",
    "proot", "proxychains", "proxychains4", "reptyr", "rlogin", "rlwrap", "rr", "rsh", "run-parts",
    "runcon", "runuser", "s6-setuidgid", "screen", "script", "sem", "setarch", "setpriv", "setsid",
    "setuidgid", "sg", "socat", "ssh", "ssh-agent", "sshpass", "start-stop-daemon", "stdbuf",
    "strace", "su", "su-exec", "sudo", "sudoedit", "systemd-inhibit", "systemd-nspawn",
    "systemd-run", "taskset", "time", "timeout", "tini", "tmux", "torify", "torsocks", "uname26",
    "unbuffer", "unshare", "valgrind", "vipe", "watch", "watchexec", "x86_64", "xargs", "xinit",
    "xterm", "xvfb-run",
    // Shells.
    "ash", "bash", "bash-static", "busybox", "csh", "dash", "elvish", "fish", "git-shell", "ksh",
    "mksh", "nu", "osh", "pwsh", "rbash", "rksh", "sh", "tcsh", "toybox", "xonsh", "yash", "zsh",
    // Interpreters, and editors and clients that are some.
    "ansible", "ansible-console", "bun", "bunx", "coreutils", "dc", "deno", "ed", "elixir",
    "emacs", "emacsclient", "erl", "ex", "ftp", "ghc", "ghci", "gnuplot", "groovy", "gs", "guile",
    "gview", "gvim", "ipython", "irb", "java", "jshell", "julia", "kotlin", "latexmk", "ld",
    "ld-linux", "ld.so", "lftp", "lua", "luajit", "lualatex", "luatex", "m4", "mail", "mailx",
    "mariadb", "mutt", "mysql", "nano", "nix", "nix-shell", "node", "nodejs", "npx", "nvim",
    "ocaml", "osascript", "perl", "php", "pico", "pnpx", "prename", "psql", "pypy", "python",
    "qemu", "racket", "raku", "rename", "rgview", "rgvim", "Rscript", "ruby", "runghc", "rview",
    "rvim", "sbcl", "scala", "sftp", "sqlite", "sqlite3", "swipl", "tclsh", "telnet", "ts-node",
    "tsx", "uvx", "vi", "view", "vim", "vimdiff", "vimtutor", "wish",
    // Builtins of the shell that run, load, evaluate or set something.
    ".", "alias", "bind", "builtin", "caller", "command", "compgen", "complete", "compopt",
    "coproc", "declare", "disown", "enable", "eval", "exec", "export", "fc", "getopts", "hash",
    "help", "history", "jobs", "let", "local", "logout", "mapfile", "read", "readarray",
    "readonly", "return", "set", "shift", "shopt", "source", "suspend", "trap", "typeset",
    "ulimit", "umask", "unalias", "unset",
];

/// They write the file that a word names, as a redirection does. A rule allows them by their name; a `*`
/// that stands in its place does not.
#[rustfmt::skip]
pub const WRITERS: &[&str] = &[
    "cp", "csplit", "dd", "fallocate", "gcp", "gdd", "ginstall", "gln", "gmv", "gpatch", "gsplit",
    "gtee", "gtruncate", "install", "link", "ln", "mv", "patch", "rsync", "scp", "split", "sponge",
    "tee", "truncate", "uudecode",
];

/// A program that does no more than its name says, but for some words.
#[derive(Debug)]
pub struct Program {
    /// Its names.
    pub names: &'static [&'static str],
    /// What a `*` does not cover:
    ///
    /// - `--long`, also abbreviated and with `=value`; `-x`, also among other letters;
    /// - `-name` of more letters, with one dash or two, also with `=value`;
    /// - `word`: a subcommand; `word word`, one of its own; `word -x`: an option of a subcommand;
    /// - `^-x`: an option before the subcommand;
    /// - `text*`: every word that begins so; `*=`: every word with a `=` that is no option;
    /// - `*text*`: a subcommand in which that stands;
    /// - `::`: of a subcommand, an address that names a transport;
    /// - `:`: a word that names another machine, `host:path`.
    pub guarded: &'static [&'static str],
    /// How many words it takes that are no options; those behind are written to.
    pub words_max: Option<usize>,
    /// Options whose value is not one of these words.
    pub valued: &'static [&'static str],
    /// The subcommands without harm, where any other word may be a program; empty where none is.
    pub subcommands: &'static [&'static str],
    /// It takes `--outp` for `--output`, so a guarded option is guarded in each of its beginnings.
    pub abbreviates: bool,
    /// Its options are whole words, `-name`: no letters are hidden behind one dash.
    pub has_long_options_only: bool,
    /// It runs what a file of the folder that it is started in says.
    pub obeys_folder: bool,
}

const PLAIN: Program = Program {
    names: &[],
    guarded: &[],
    words_max: None,
    valued: &[],
    subcommands: &[],
    abbreviates: true,
    has_long_options_only: false,
    obeys_folder: false,
};

macro_rules! programs {
    ($( [$($name:literal)+] $(guarded [$($guarded:literal)*])? $(@$field:ident = $value:expr),* ;)*) => {
        &[ $( Program {
            names: &[$($name),+],
            $( guarded: &[$($guarded),*], )?
            $( $field: $value, )*
            ..PLAIN
        } ),* ]
    };
}

/// What `pnpm` does itself, and usual names of scripts: for a word that is neither it looks in `PATH`.
#[rustfmt::skip]
const PNPM: &[&str] = &[
    "add", "audit", "bin", "build", "check", "ci", "clean", "coverage", "dedupe", "dev", "fetch",
    "format", "i", "import", "install", "install-test", "it", "la", "licenses", "lint", "list", "ll",
    "ls", "outdated", "prepare", "preview", "prune", "rb", "rebuild", "remove", "rm", "root", "run",
    "run-script", "start", "stop", "storybook", "t", "test", "tst", "type-check", "typecheck", "un",
    "uninstall", "up", "update", "upgrade", "why",
];

/// Programs with words that make them run or write something else, and those that obey the folder.
pub const PROGRAMS: &[Program] = programs! {
    // Reading.
    ["sort" "gsort"] guarded ["-o" "--output" "--compress-program" "-T" "--temporary-directory"];
    // Elsewhere than on Linux it runs a program.
    ["arch"] @words_max = Some(0);
    // Elsewhere it writes a file.
    ["base64" "base32" "basenc"] guarded ["-o" "--output"];
    ["shuf"] guarded ["-o" "--output"];
    ["uniq"] @valued = &["-f", "-s", "-w"], @words_max = Some(1);
    ["xxd"] @valued = &["-c", "-g", "-l", "-o", "-s"], @words_max = Some(1);
    ["date"] guarded ["-s" "--set"] @valued = &["-d", "--date", "-r", "--reference", "-f", "--file"],
        @words_max = Some(0);
    ["hostname"] guarded ["-F" "--file" "-b" "--boot"] @words_max = Some(0);
    ["file"] guarded ["-C" "--compile" "-m" "--magic-file" "-z" "-Z" "--uncompress"
        "--uncompress-noreport"];
    ["tree"] guarded ["-o" "--output" "-R"];
    ["rg"] guarded ["--pre" "--pre-glob" "--hostname-bin" "-z" "--search-zip"] @abbreviates = false;
    ["ag"] guarded ["--pager" "-z" "--search-zip"];
    ["ack"] guarded ["--pager" "--ackrc" "--output" "--create-ackrc"];
    ["fd" "fdfind"] guarded ["-x" "--exec" "-X" "--exec-batch" "-l" "--list-details"] @abbreviates = false;
    ["find" "gfind"] guarded ["-delete" "-exec" "-execdir" "-ok" "-okdir" "-fls" "-fprint"
        "-fprint0" "-fprintf"] @has_long_options_only = true;
    ["bat" "batcat"] guarded ["--pager" "--paging" "cache"] @abbreviates = false;
    ["less" "more" "most"] guarded ["-o" "-O" "--log-file" "--LOG-FILE" "-k" "--lesskey-file"
        "--lesskey-src" "--lesskey-content" "-T" "--tag-file" "-t" "--tag" "--cmd" "+*"];
    ["man"] guarded ["-P" "--pager" "-H" "--html" "-X" "--gxditview" "-C" "--config-file" "-M"
        "--manpath" "-p" "--preprocessor" "-l" "--local-file" "-t" "--troff" "-T"
        "--troff-device" "-Z" "--ditroff" "-E" "-m" "--systems" "-B" "-U"];
    ["yq"] guarded ["-i" "--inplace" "--in-place" "-s" "--split-exp" "--split-exp-file"
        "--security-enable-system-operator"] @abbreviates = false;
    ["journalctl"] guarded ["--vacuum-size" "--vacuum-time" "--vacuum-files" "--rotate"
        "--flush" "--setup-keys" "--update-catalog" "--relinquish-var" "--cursor-file"];
    ["lsof"] guarded ["-D"];
    ["tcpdump"] guarded ["-w" "-z"];
    ["sed" "gsed"] guarded ["-i" "--in-place" "-f" "--file"];
    ["awk" "gawk" "mawk" "nawk" "original-awk"] guarded ["-f" "--file" "-E" "--exec" "-i"
        "--include" "-l" "--load" "-o" "--pretty-print" "-p" "--profile" "-d"
        "--dump-variables" "-D" "--debug" "-e" "--source" "-W"];
    // Archives and transfers.
    ["tar" "gtar" "bsdtar"] guarded ["-I" "--use-compress-program" "--to-command"
        "--checkpoint-action" "--rmt-command" "--rsh-command" "-F" "--info-script"
        "--new-volume-script" "--index-file" "-g" "--listed-incremental" "--volno-file" "-P"
        "--absolute-names" "--remove-files" "-T" "--files-from" ":"];
    ["cpio"] guarded ["--rsh-command" "-F" "--file" "-O" "-I" "--absolute-filenames"];
    ["zip"] guarded ["-T" "--test" "-TT" "--unzip-command" "-O" "--output-file" "-lf" "-b" "-m"
        "--move"];
    ["unzip"] guarded ["-d" "-:"];
    ["rsync"] guarded ["-e" "--rsh" "--rsync-path" "--log-file" "--daemon" "--config" "-M"
        "--remote-option" "--write-batch" "--only-write-batch" "--backup-dir" "-T"
        "--temp-dir" "--partial-dir"];
    ["scp"] guarded ["-S" "-o" "-F" "-D" "-J" "-i"];
    ["curl"] guarded ["-o" "--output" "-O" "--remote-name" "--remote-name-all" "-J"
        "--remote-header-name" "--output-dir" "-K" "--config" "-D" "--dump-header" "-c"
        "--cookie-jar" "--trace" "--trace-ascii" "--stderr" "--libcurl" "--etag-save" "--hsts"
        "--alt-svc" "-w" "--write-out" "-T" "--upload-file" "-F" "--form" "-x" "--proxy"
        "--preproxy" "--unix-socket" "--abstract-unix-socket" "--connect-to" "--resolve"
        "--engine" "-E" "--cert" "--netrc-file" "--next" "--socks*" "-d@*" "@*" "--variable"
        "--expand-*" "--ssl-sessions" "--proto-default" "telnet:*"];
    ["wget" "wget2"] guarded ["-O" "--output-document" "-o" "--output-file" "-a"
        "--append-output" "-P" "--directory-prefix" "-e" "--execute" "--config"
        "--use-askpass" "--post-file" "--body-file" "-i" "--input-file" "--save-cookies"
        "--warc-file" "--rejected-log" "--hsts-file" "--use-server-timestamps"];
    ["nc" "ncat" "netcat"] guarded ["-e" "--exec" "-c" "--sh-exec" "--lua-exec" "-o" "-x"
        "-l" "--listen"];
    ["split"] guarded ["--filter"];
    ["install"] guarded ["--strip-program" "-s"];
    ["patch"] guarded ["-o" "--output" "-e" "--ed" "-d" "--directory" "-r" "--reject-file" "-i"
        "--input"];
    ["ip"] guarded ["netns" "vrf" "-b" "-batch"] @has_long_options_only = true;
    ["openssl"] guarded ["-out" "-engine" "-provider" "-provider-path" "-config" "-writerand"
        "-keyout" "-passin" "-passout"] @has_long_options_only = true;
    ["nmap"] guarded ["--script*" "-o*" "--datadir" "-i"] @abbreviates = false;
    ["apt" "apt-get" "aptitude"] guarded ["-o" "--option" "-c" "--config-file"];
    // Version control.
    ["git"] guarded ["^-c" "^-C" "^--exec-path" "^--git-dir" "^--work-tree" "^--namespace"
        "^--config-env" "^--attr-source" "^-p" "^--paginate" "--output" "--output-directory"
        "--upload-pack" "--receive-pack" "--exec" "--ext-diff" "--textconv" "--filters"
        "--open-files-in-pager" "--extcmd" "--gpg-sign" "--template" "--separate-git-dir"
        "grep -O" "clone -u" "clone -c" "clone --config" "clone --reference" "ls-remote -u"
        "archive -o" "archive --remote" "format-patch -o" "rebase -x" "rebase -i"
        "rebase --interactive" "rebase -s" "rebase --strategy" "merge -s" "merge --strategy"
        "pull -s" "pull --strategy" "cherry-pick --strategy" "revert --strategy"
        "add -i" "add -e" "add --edit" "tag -s" "tag -u" "commit -S" "merge -S"
        "bisect run" "bisect visualize" "bisect view" "bundle create" "submodule foreach" "config"
        "filter-branch" "filter-repo" "difftool" "mergetool" "daemon" "instaweb" "gui" "citool"
        "send-email" "imap-send" "credential" "credential-cache" "credential-store" "hook"
        "maintenance" "for-each-repo" "fast-import" "fast-export" "upload-pack"
        "upload-archive" "receive-pack" "send-pack" "fetch-pack" "shell" "http-backend"
        "remote-ext" "remote-fd" "help" "svn" "p4" "cvsserver" "cvsimport"
        "archimport" "interpret-trailers" "merge-index" "merge-one-file" "quiltimport"
        "request-pull" "sh-setup" "var" "scalar" "*--*" "credential-*" "--unsafe-paths"
        "checkout-index" "merge-file" "mailinfo" "mailsplit" "bugreport" "diagnose"
        "clone ::" "fetch ::" "pull ::" "push ::" "ls-remote ::" "remote ::" "submodule ::"
        "subtree ::" "archive ::"] @obeys_folder = true;
    ["hg"] guarded ["--config" "--debugger" "--cwd" "-R" "--repository" "--tool" "-t" "serve"
        "extdiff" "histedit" "--ssh" "-e" "--remotecmd"] @obeys_folder = true;
    ["svn"] guarded ["--editor-cmd" "--diff-cmd" "--diff3-cmd" "--config-option"
        "--config-dir"] @obeys_folder = true;
    ["gh"] guarded ["alias" "extension" "extensions" "ext" "api" "codespace" "cs" "config" "auth"
        "secret" "variable" "ssh-key" "gpg-key" "copilot" "--editor" "-e" "--"] @abbreviates = false;
    // Building and testing.
    ["make" "gmake" "bmake"] guarded ["--eval" "-E" "-f" "--file" "--makefile" "-C" "--directory"
        "-I" "--include-dir" "*=" "-V" "-v" "-J" "-m"] @obeys_folder = true;
    ["just"] guarded ["-f" "--justfile" "-d" "--working-directory" "--shell" "--shell-arg"
        "--shell-command" "--set" "-c" "--command" "-e" "--edit" "--chooser" "--choose"
        "--dotenv-path" "--dotenv-filename" "-E" "--init" "*="] @abbreviates = false, @obeys_folder = true;
    ["task" "rake" "gulp" "grunt"] guarded ["-t" "--taskfile" "-d" "--dir" "-f" "--rakefile" "-r"
        "--require" "-e" "--execute" "-E" "-p" "-I" "--libdir" "--gulpfile" "--gruntfile" "--cwd"
        "*="] @obeys_folder = true;
    ["cargo"] guarded ["--config" "-Z" "^-C" "^+*" "--manifest-path" "--target-dir"
        "--artifact-dir" "--out-dir" "--lockfile-path" "--open" "--config-file" "--tool-config-file" "--extract-to" "--root" "rustc" "rustdoc"
        "install" "publish" "yank" "owner" "login" "logout" "watch" "generate" "binstall" "script" "--logfile"] @abbreviates = false, @obeys_folder = true;
    ["rustup"] guarded ["run" "default" "override" "toolchain" "set" "self"] @abbreviates = false;
    ["go"] guarded ["-exec" "-toolexec" "-o" "-overlay" "-modfile" "-C" "-vettool" "-outputdir"
        "-cpuprofile" "-memprofile" "-blockprofile" "-mutexprofile" "-trace" "-coverprofile"
        "-ldflags" "-gccgoflags" "-gcflags" "-asmflags" "-pkgdir" "-test.*" "--test.*" "-w" "-u" "-n" "run"
        "generate" "tool" "install" "get" "bug"] @has_long_options_only = true, @obeys_folder = true;
    ["npm"] guarded ["exec" "x" "explore" "config" "c" "set" "get" "init" "create" "innit" "edit"
        "publish" "login" "adduser" "token" "access" "owner" "cache" "link" "--script-shell"
        "--shell" "--prefix" "-C" "--globalconfig" "--userconfig" "--node-options" "--git"
        "--viewer" "--browser" "-c" "--call" "--editor" "--cache" "--node-gyp" "--init-module"
        "--onload-script" "--registry" "pkg set" "pkg delete" "pkg fix" "--pack-destination"]
        @obeys_folder = true;
    ["pnpm"] guarded ["exec" "dlx" "create" "config" "env" "publish" "init" "--dir" "-C"
        "--script-shell" "--shell-emulator" "--node-options" "--config*" "--pnpmfile" "--registry"]
        @valued = &["-F", "--filter"], @subcommands = PNPM, @abbreviates = false,
        @obeys_folder = true;
    ["yarn"] guarded ["dlx" "exec" "node" "config" "create" "plugin" "publish" "init" "link"
        "global" "--cwd" "--use-yarnrc" "--script-shell" "--modules-folder" "--registry"]
        @abbreviates = false, @obeys_folder = true;
    ["pytest" "py.test"] guarded ["-c" "--config-file" "--rootdir" "-p" "--confcutdir" "-o"
        "--override-ini" "--basetemp" "--junitxml" "--junit-xml" "--log-file" "--pastebin"
        "--pdbcls" "--import-mode" "--debug" "--html" "--report-log" "--result-log"] @abbreviates = false, @obeys_folder = true;
    ["tox" "nox"] guarded ["-c" "--conf" "-x" "--override" "--workdir" "--root" "-f"
        "--noxfile" "--sitepackages"] @obeys_folder = true;
    ["mypy" "pylint" "flake8" "ruff" "black" "isort"] guarded ["--config-file" "--rcfile"
        "--init-hook" "--load-plugins" "--python-executable" "--install-types" "--config"
        "--output-file" "--output" "--cache-dir" "-o"] @obeys_folder = true;
    ["pip" "pip3"] guarded ["--config-settings" "--python" "--log" "--target" "-t" "--prefix"
        "--root" "--cache-dir" "--index-url" "-i" "--extra-index-url" "-e" "--editable"
        "--build-option" "--global-option" "config" "cache"];
    ["poetry" "uv" "pipx" "pdm" "hatch" "conda" "mamba" "pyenv" "rbenv" "asdf" "mise"] guarded [
        "run" "shell" "exec" "x" "tool" "config" "env" "self" "publish" "init" "create" "-C"
        "--directory" "--project" "--config-file" "--with" "plugin"] @abbreviates = false, @obeys_folder = true;
    ["tsc"] guarded ["--outDir" "--outFile" "--declarationDir" "--tsBuildInfoFile"
        "--generateTrace" "--generateCpuProfile"] @abbreviates = false, @obeys_folder = true;
    ["eslint" "prettier" "stylelint" "biome" "jest" "vitest" "mocha" "webpack" "vite" "rollup"
        "next" "turbo" "nx" "cypress" "playwright" "ava" "karma" "lerna"] guarded ["-c"
        "--config" "--rulesdir" "--plugin" "--parser" "-f" "--format" "--formatter" "-o"
        "--output-file" "--outputFile" "--cache-location" "--resolve-plugins-relative-to"
        "--require" "-r" "--import" "--loader" "--runner" "--transform" "--globalSetup"
        "--setupFiles" "--testRunner" "--reporter" "-R" "--reporters" "--rootDir" "--cwd"
        "exec" "run-commands" "--node-options"] @abbreviates = false, @obeys_folder = true;
    ["cmake"] guarded ["-E" "-P" "-C" "-D*" "--toolchain" "--graphviz" "--profiling-output"
        "--trace-redirect"] @abbreviates = false, @obeys_folder = true;
    ["ctest"] guarded ["-S" "-SP" "--script" "--build-and-test" "--test-command" "-O" "--output-log"]
        @abbreviates = false, @obeys_folder = true;
    ["ninja"] guarded ["-f" "-C" "-t"] @obeys_folder = true;
    ["mvn" "mvnw" "gradle" "gradlew" "ant" "sbt" "bazel" "buck" "meson" "scons" "waf"] guarded ["-f"
        "--file" "-s" "--settings" "-D*" "-I" "--init-script" "-b" "--build-file" "-p"
        "--project-dir" "-g" "--gradle-user-home" "-P*" "-C" "--startup*" "--bazelrc" "--run_under"
        "run" "--workspace_status_command" "--native-file" "--cross-file" "-c" "--include-build"
        "-lib" "-logger" "-listener"] @obeys_folder = true;
    ["bundle" "gem" "composer" "mix" "rebar3" "dotnet" "swift" "stack" "cabal" "dune"] guarded ["exec"
        "config" "open" "console" "run" "eval" "run-script" "--config" "publish" "push"
        "--gemfile" "-d" "--working-dir" "-C" "script" "exec-script" "runghc" "ghci" "repl"]
        @abbreviates = false, @obeys_folder = true;
    ["gcc" "g++" "cc" "c++" "clang" "clang++" "rustc" "tcc"] guarded ["-wrapper" "-fplugin*" "-B*"
        "-specs" "-fuse-ld*" "@*" "-Xlinker" "-Wl,*" "-C" "-Z" "-load" "-fpass-plugin*" "-Xclang"
        "-dumpdir" "-run" "--sysroot"] @has_long_options_only = true;
    ["terraform" "tofu" "packer"] guarded ["-chdir" "console" "login" "-var-file" "-out" "-state"
        "-state-out" "-backup" "-plugin-dir" "-from-module"] @has_long_options_only = true,
        @obeys_folder = true;
    ["ansible-playbook" "helm" "pulumi" "vagrant"] guarded ["-e" "--extra-vars" "-i" "--inventory"
        "-M" "--module-path" "--post-renderer" "plugin" "--kubeconfig" "ssh" "config" "login"
        "--become-method" "--ssh-common-args" "--ssh-extra-args" "--vault-password-file" "-c"
        "--connection" "provision"] @obeys_folder = true;
    ["docker" "podman" "nerdctl"] guarded ["run" "exec" "build" "buildx" "builder" "compose" "create"
        "cp" "commit" "load" "import" "save" "export" "plugin" "swarm" "stack" "service" "start"
        "container" "volume" "context" "login" "push" "secret" "config" "machine" "play" "debug"
        "sandbox" "model" "mcp" "init" "image build" "image load" "image import" "image save"
        "image push" "manifest push" "kube" "^-H" "^--host" "^-c" "^--context" "^--config" "^--connection" "^--url"]
        @abbreviates = false, @obeys_folder = true;
    ["docker-compose" "podman-compose"] guarded ["run" "exec" "-f" "--file" "--project-directory"
        "--env-file" "-H" "--host"] @abbreviates = false, @obeys_folder = true;
    ["kubectl" "oc" "k9s"] guarded ["exec" "run" "cp" "apply" "create" "edit" "debug" "attach"
        "plugin" "proxy" "port-forward" "config" "delete" "replace" "patch" "set" "kustomize"
        "diff" "--kubeconfig" "--server" "-s" "--token" "--cache-dir" "--output-directory"] @abbreviates = false;
};

/// Variables that steer nothing but how something is shown or told: they may be set to any text.
#[rustfmt::skip]
const STEERLESS: &[&str] = &[
    "CARGO_BUILD_JOBS", "CARGO_INCREMENTAL", "CARGO_NET_OFFLINE", "CARGO_TERM_COLOR",
    "CARGO_TERM_PROGRESS_WHEN", "CARGO_TERM_QUIET", "CARGO_TERM_VERBOSE", "CI", "CLICOLOR",
    "CLICOLOR_FORCE", "COLUMNS", "DEBIAN_FRONTEND", "FORCE_COLOR", "HOMEBREW_NO_AUTO_UPDATE",
    "NODE_ENV", "NO_COLOR", "NO_UPDATE_NOTIFIER", "PIP_DISABLE_PIP_VERSION_CHECK",
    "PROPTEST_CASES", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE", "RUST_LOG", "RUST_MIN_STACK", "RUST_TEST_THREADS", "SOURCE_DATE_EPOCH",
    "TZ",
];

/// A script may set the variable unasked: no program takes orders from it. The locale says which
/// bytes are a character, and so how bash reads what follows: only those that all read alike.
pub fn is_steerless(name: &str, value: &str) -> bool {
    let is_locale = name == "LANG" || name.starts_with("LC_");
    let is_usual = matches!(value, "C" | "POSIX")
        || value
            .to_ascii_lowercase()
            .replace('-', "")
            .ends_with(".utf8");
    // `debconf` evaluates it as the name of a module.
    let is_word = value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (STEERLESS.contains(&name) && (name != "DEBIAN_FRONTEND" || is_word))
        || (is_locale && is_usual && !value.contains('/'))
}

/// How far a program can be trusted to do no more than its name says.
#[derive(Debug, Clone, Copy)]
pub enum ProgramKind {
    /// It does no harm with any argument.
    Harmless,
    /// It runs what it is given.
    Runner,
    /// Some words make it do more.
    Guarded(&'static Program),
    /// Nothing: what its options do is the affair of whoever allows it.
    Nothing,
}

/// Looks up a program by its name, or by the last part of a path.
pub fn known(command: &str) -> ProgramKind {
    let name = base_name(command);
    if HARMLESS.contains(&name) {
        return ProgramKind::Harmless;
    }
    if RUNNERS.contains(&name) || RUNNERS.contains(&without_version(name)) {
        return ProgramKind::Runner;
    }
    let is_it = |program: &&Program| program.names.contains(&name);
    match PROGRAMS.iter().find(is_it) {
        Some(program) => ProgramKind::Guarded(program),
        None => ProgramKind::Nothing,
    }
}

/// The program's name without its folder.
pub fn base_name(command: &str) -> &str {
    command.rsplit('/').next().unwrap_or(command)
}

/// `python` of `python3.11`, `lua` of `lua5.4`, `ld-linux` of `ld-linux-x86-64.so.2`.
fn without_version(name: &str) -> &str {
    if name.starts_with("ld-linux") || name.starts_with("ld-musl") || name.starts_with("ld64.so") {
        return "ld-linux";
    }
    if name.starts_with("qemu-") {
        return "qemu";
    }
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-'))
}

/// A word of a command, and what stands before it.
struct WordPlace<'a> {
    /// Its text, or what it begins with.
    text: &'a str,
    is_literal: bool,
    /// Whether it may be a subcommand, or stand before one: what stands before it is options,
    /// and what may be values of such.
    is_in_front: bool,
    /// What may be a subcommand before it.
    heads: &'a [String],
    /// Whether `heads` ends in the last word before it that is no option.
    follows_head: bool,
}

impl WordPlace<'_> {
    fn is_option(&self) -> bool {
        is_option(self.text)
    }
}

fn is_option(text: &str) -> bool {
    text.len() > 1 && text.starts_with(['-', '+'])
}

/// The words that are no options, in front of which nothing but options and their values stands.
/// `seen` is told each word with its place.
fn walk(words: &[Word], mut seen: impl FnMut(usize, &WordPlace<'_>)) {
    let mut heads: Vec<String> = Vec::new();
    let (mut is_in_front, mut follows_head, mut is_value) = (true, false, false);
    for (at, word) in words.iter().enumerate().skip(1) {
        let value = word.value();
        let is_literal = value.is_some();
        let text = value.unwrap_or_else(|| word.start().to_owned());
        seen(
            at,
            &WordPlace {
                text: &text,
                is_literal,
                is_in_front,
                heads: &heads,
                follows_head,
            },
        );
        if is_option(&text) {
            is_value = !(text.contains('=') || text.starts_with("--no-"));
            continue;
        }
        follows_head = is_in_front;
        if is_in_front {
            heads.push(text);
        }
        is_in_front &= is_value;
        is_value = false;
    }
}

/// For what is written of a word so that no `*` stands for any of it.
pub const ALL: usize = usize::MAX;

impl Program {
    /// How many bytes of each word (the program's name is the first) must be written out, because
    /// no `*` covers them.
    pub fn written_out(&self, words: &[Word]) -> Vec<usize> {
        let mut lengths = vec![0; words.len()];
        let mut plain_words = 0;
        walk(words, |at, place| {
            let guards = self
                .guarded
                .iter()
                .filter_map(|rule| self.guards(rule, place));
            lengths[at] = guards.max().unwrap_or(0);
            let before = words[at - 1].value().unwrap_or_default();
            let is_value = self.valued.contains(&before.as_str());
            plain_words += usize::from(!place.is_option() && !is_value);
            if self
                .words_max
                .is_some_and(|most| !place.is_option() && plain_words > most)
            {
                lengths[at] = ALL;
            }
            let is_command = place.is_in_front && !place.is_option() && !is_value;
            if is_command && !self.subcommands.is_empty() && !self.subcommands.contains(&place.text)
            {
                lengths[at] = ALL;
            }
        });
        match self.names[0] {
            // `tar xIf prog file`: its options without a dash.
            "tar" => guard_cluster(self, words, &mut lengths),
            "sed" => guard_scripts(words, &mut lengths, "nErsuz", "", is_safe_sed),
            "awk" => guard_scripts(words, &mut lengths, "", "Fv", is_safe_awk),
            "curl" => guard_files(words, &mut lengths),
            _ => {}
        }
        lengths
    }

    /// How much of a word a rule wants written out.
    fn guards(&self, rule: &str, place: &WordPlace<'_>) -> Option<usize> {
        if let Some(option) = rule.strip_prefix('^') {
            return place
                .is_in_front
                .then(|| self.option(option, place))
                .flatten();
        }
        if let Some((subcommand, rest)) = rule.split_once(' ') {
            let is_below = place.heads.iter().any(|head| head == subcommand);
            return match rest {
                _ if !is_below => None,
                "::" => may_name_transport(place).then_some(ALL),
                rest if rest.starts_with('-') => self.option(rest, place),
                rest => (place.follows_head && place.text == rest).then_some(rest.len()),
            };
        }
        if let Some(part) = rule
            .strip_prefix('*')
            .and_then(|rule| rule.strip_suffix('*'))
        {
            let is_it = place.is_in_front && !place.is_option() && place.text.contains(part);
            return is_it.then_some(ALL);
        }
        match rule {
            ":" => may_name_machine(place).then_some(ALL),
            "*=" => may_hold_equals(place).then_some(ALL),
            rule if rule.starts_with('-') || rule.ends_with('*') => self.option(rule, place),
            rule => (place.is_in_front && self.is_subcommand(place.text, rule)).then_some(ALL),
        }
    }

    /// Whether a word is a subcommand, also abbreviated where the program takes that.
    fn is_subcommand(&self, text: &str, subcommand: &str) -> bool {
        let abbreviates = matches!(self.names[0], "npm" | "hg" | "ip" | "bundle");
        text == subcommand || (abbreviates && text.len() > 1 && subcommand.starts_with(text))
    }

    fn option(&self, option: &str, place: &WordPlace<'_>) -> Option<usize> {
        let text = place.text;
        if let Some(start) = option.strip_suffix('*') {
            let may_begin = !place.is_literal && start.starts_with(text);
            return (may_begin || text.starts_with(start)).then_some(start.len().min(text.len()));
        }
        let name = text.split('=').next().unwrap_or_default();
        let is_long = name.len() > 2 && name.starts_with("--");
        let is_it = match option.strip_prefix("--") {
            Some(_) if self.abbreviates => is_long && option.starts_with(name),
            Some(_) => name == option,
            None if option.len() > 2 || self.has_long_options_only => {
                name.starts_with('-') && name.trim_start_matches('-') == &option[1..]
            }
            None => return cluster_with(text, &option[1..]),
        };
        is_it.then_some(name.len())
    }
}

/// How far a letter is among those behind a single dash.
fn cluster_with(text: &str, letter: &str) -> Option<usize> {
    let letters = text
        .strip_prefix('-')
        .filter(|letters| !letters.starts_with('-'))?;
    letters.find(letter).map(|at| at + 2)
}

/// `ext::…`: git runs the program `git-remote-ext`.
fn may_name_transport(place: &WordPlace<'_>) -> bool {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "+.-".contains(letter);
    match place.text.split_once("::") {
        Some((name, _)) => name.chars().all(is_of_name),
        None => !place.is_literal && place.text.trim_end_matches(':').chars().all(is_of_name),
    }
}

/// `host:path`, also as the value of an option: `tar` starts a shell there.
fn may_name_machine(place: &WordPlace<'_>) -> bool {
    match place.text.split_once('/') {
        Some((start, _)) => start.contains(':'),
        None => place.text.contains(':') || !place.is_literal,
    }
}

fn may_hold_equals(place: &WordPlace<'_>) -> bool {
    !place.is_option() && (place.text.contains('=') || !place.is_literal)
}

fn guard_cluster(program: &Program, words: &[Word], lengths: &mut [usize]) {
    let Some(letters) = words
        .get(1)
        .and_then(Word::value)
        .filter(|text| !text.starts_with('-'))
    else {
        return;
    };
    let is_guarded = |rule: &str| rule.len() == 2 && letters.contains(&rule[1..]);
    if program.guarded.iter().any(|rule| is_guarded(rule)) {
        lengths[1] = ALL;
    }
}

/// `curl --data-urlencode name@file` sends the file, and `TELNET://host` what it is given to read.
fn guard_files(words: &[Word], lengths: &mut [usize]) {
    for at in 1..words.len() {
        let option = words[at - 1].start();
        let takes_name = ["--data-u", "--url-q"]
            .iter()
            .any(|start| option.starts_with(start));
        let text = words[at].start();
        let name = text.split('=').next().unwrap_or_default();
        let is_literal = words[at].value().is_some() || text.contains('=');
        let is_file = takes_name && (name.contains('@') || !is_literal);
        if is_file || text.to_ascii_lowercase().contains("telnet:") {
            lengths[at] = ALL;
        }
    }
}

/// Of programs whose first word, or the one behind `-e`, is a script: one that is not certain to
/// do no harm must be written out, and so must options that are not known here. `flags` are those
/// that take nothing, `valued` those that take a word.
fn guard_scripts(
    words: &[Word],
    lengths: &mut [usize],
    flags: &str,
    valued: &str,
    is_safe: fn(&str) -> bool,
) {
    let is_harmful = |word: &Word| !word.value().is_some_and(|text| is_safe(&text));
    let mut has_script = false;
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let text = word.value().unwrap_or_else(|| word.start().to_owned());
        let letters = text.strip_prefix('-').unwrap_or_default();
        let takes = |letter: char| valued.contains(letter);
        if letters.starts_with(takes) {
            at += usize::from(letters.len() == 1);
        } else if letters.ends_with('e')
            && letters[..letters.len() - 1]
                .chars()
                .all(|one| flags.contains(one))
            && !flags.is_empty()
        {
            has_script = true;
            at += 1;
            if words.get(at).is_some_and(is_harmful) {
                lengths[at] = ALL;
            }
        } else if text.starts_with('-') && text != "-" {
            let is_known = !letters.is_empty() && letters.chars().all(|one| flags.contains(one));
            // `-i` is guarded by itself.
            if !is_known && lengths[at] == 0 {
                lengths[at] = ALL;
            }
        } else if !has_script {
            has_script = true;
            if is_harmful(word) {
                lengths[at] = ALL;
            }
        }
        at += 1;
    }
}

/// Whether a script of `sed` is certain to print and change nothing but its output: commands of one
/// letter that take nothing, and `s` and `y` without the flags that run or write.
fn is_safe_sed(script: &str) -> bool {
    let mut rest = script.trim_start_matches([' ', ';', '\n']);
    while !rest.is_empty() {
        match sed_command(rest) {
            Some(after) => rest = after.trim_start_matches([' ', ';', '\n']),
            None => return false,
        }
    }
    true
}

/// What stands behind the first command of a script of `sed`; `None` where it may do harm.
fn sed_command(text: &str) -> Option<&str> {
    let mut rest = sed_address(text)?;
    if let Some(after) = rest.strip_prefix(',') {
        rest = sed_address(after.trim_start_matches(['+', '~']))?;
    }
    let rest = rest.trim_start_matches([' ', '!']);
    let command = rest.chars().next()?;
    let after = &rest[command.len_utf8()..];
    let after = match command {
        's' => {
            let flags = delimited(after, 2)?;
            flags.trim_start_matches(|flag: char| "gpiI".contains(flag) || flag.is_ascii_digit())
        }
        'y' => delimited(after, 2)?,
        'p' | 'd' | 'D' | 'P' | 'n' | 'N' | 'h' | 'H' | 'g' | 'G' | 'x' | '=' => after,
        'q' => after.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        _ => return None,
    };
    let after = after.trim_start_matches(' ');
    (after.is_empty() || after.starts_with([';', '\n'])).then_some(after)
}

/// What stands behind an address, if there is one.
fn sed_address(text: &str) -> Option<&str> {
    let is_of_number = |letter: char| letter.is_ascii_digit() || letter == '~';
    match text.chars().next()? {
        '/' => delimited(text, 1).map(|after| after.strip_prefix('I').unwrap_or(after)),
        '$' => Some(&text[1..]),
        letter if letter.is_ascii_digit() => Some(text.trim_start_matches(is_of_number)),
        _ => Some(text),
    }
}

/// What stands behind `count` texts between delimiters, the first of which is the first character.
fn delimited(text: &str, count: usize) -> Option<&str> {
    let mut letters = text.chars();
    let delimiter = letters
        .next()
        .filter(|one| one.is_ascii_punctuation() && *one != '\\')?;
    let mut found = 0;
    while found < count {
        match letters.next()? {
            '\\' => {
                letters.next().filter(|letter| *letter != '\n')?;
            }
            '[' if found == 0 => letters = bracket(letters.as_str(), delimiter)?.chars(),
            '\n' => return None,
            letter => found += usize::from(letter == delimiter),
        }
    }
    Some(letters.as_str())
}

/// What stands behind a bracket of a regular expression; `None` where it holds what would end the
/// text without it, or anything unusual: programs differ in what they take for its end.
fn bracket(text: &str, delimiter: char) -> Option<&str> {
    let text = text.strip_prefix('^').unwrap_or(text);
    let mut rest = text.strip_prefix(']').unwrap_or(text);
    loop {
        if let Some(class) = rest.strip_prefix("[:") {
            let (name, after) = class.split_once(":]")?;
            rest = after;
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase())
                .then_some(())?;
            continue;
        }
        let letter = rest.chars().next()?;
        let is_class = letter == '[' && rest[1..].starts_with(['.', '=']);
        rest = &rest[letter.len_utf8()..];
        match letter {
            ']' => return Some(rest),
            '\n' | '\\' => return None,
            letter if letter == delimiter || is_class => return None,
            _ => {}
        }
    }
}

/// Whether a program for `awk` is certain to print to its output and nothing else.
fn is_safe_awk(program: &str) -> bool {
    let text = program.replace("||", "");
    ![
        "system", "getline", "|", ">", "@", "close", "fflush", "/inet",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// Whether `printf` has a literal format without `%n`, which sets a variable, in whose subscript
/// anything can stand.
fn has_plain_format(words: &[Word]) -> bool {
    let Some(format) = words
        .get(1)
        .and_then(Word::value)
        .filter(|format| !format.starts_with('-'))
    else {
        return false;
    };
    let is_modifier = |letter: char| letter.is_ascii_digit() || "-+ #'.*hlLjzt".contains(letter);
    let format = format.replace("%%", "");
    let mut conversions = format.split('%').skip(1);
    !conversions.any(|one| one.trim_start_matches(is_modifier).starts_with('n'))
}

/// What `test` asks of one word, and of two.
#[rustfmt::skip]
const UNARY: &[&str] = &[
    "-b", "-c", "-d", "-e", "-f", "-g", "-h", "-k", "-n", "-p", "-r", "-s", "-t", "-u", "-w", "-x",
    "-z", "-G", "-L", "-N", "-O", "-S",
];
#[rustfmt::skip]
const BINARY: &[&str] = &[
    "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef",
];

/// Whether `test` or `[` asks one question that evaluates none of its words: `-v` and `-R` do, and
/// a word that the shell makes may be one of them, unless what stands around it says otherwise.
fn is_plain_test(words: &[Word]) -> bool {
    let mut words = &words[1..];
    if words.last().and_then(Word::value).as_deref() == Some("]") {
        words = &words[..words.len() - 1];
    }
    let is = |word: &Word, known: &[&str]| {
        word.value()
            .is_some_and(|text| known.contains(&text.as_str()))
    };
    if words.len() > 2 && is(&words[0], &["!"]) {
        words = &words[1..];
    }
    let is_one = |word: &Word| !word.pieces.contains(&super::shell::Piece::Splitting);
    match words {
        [operator, word] => is(operator, UNARY) && is_one(word),
        [one, operator, other] => is(operator, BINARY) && is_one(one) && is_one(other),
        _ => false,
    }
}

/// The command does no harm, whatever the shell makes of its words.
pub fn is_harmless(words: &[Word]) -> bool {
    let Some(command) = words.first().and_then(Word::value) else {
        return false;
    };
    match command.as_str() {
        "test" | "[" => is_plain_test(words),
        "printf" => has_plain_format(words),
        // Of the same name elsewhere nothing is known.
        command => {
            let is_usual = ["/bin/", "/usr/bin/"]
                .iter()
                .any(|folder| command.starts_with(folder));
            (is_usual || !command.contains('/')) && matches!(known(command), ProgramKind::Harmless)
        }
    }
}

/// Why no pattern may allow a command, if so.
pub fn runs_others(words: &[Word]) -> Option<String> {
    let command = words.first()?.value()?;
    let name = base_name(&command);
    let asks = |options: &[&str]| {
        words
            .get(1)
            .and_then(Word::value)
            .is_some_and(|one| options.contains(&one.as_str()))
    };
    match name {
        // It says where a program is.
        "command" if asks(&["-v", "-V"]) => None,
        "test" | "[" => (!is_plain_test(words)).then(|| format!("`{name}` may evaluate its words")),
        "printf" => (!has_plain_format(words)).then(|| "`printf` may set a variable".to_owned()),
        "wait" => (words.len() > 1).then(|| "`wait` may set a variable".to_owned()),
        _ => matches!(known(&command), ProgramKind::Runner)
            .then(|| format!("`{name}` runs what it is given")),
    }
}

/// The command writes a file that one of its words names, or may.
pub fn writes_files(words: &[Word]) -> bool {
    let Some(command) = words.first().and_then(Word::value) else {
        return false;
    };
    let name = base_name(&command);
    let names_file = |word: &Word| match word.value() {
        Some(text) if matches!(name, "dd" | "gdd") => text.starts_with("of="),
        Some(text) => !is_option(&text),
        None => true,
    };
    // They write `xaa` and so on where they are told nothing, or what their input names.
    let is_told_elsewhere = matches!(name, "split" | "gsplit" | "patch" | "gpatch" | "uudecode");
    // Behind it a word is a file, whatever it begins with.
    let end = words
        .iter()
        .position(|word| word.value().as_deref() == Some("--"));
    let is_behind = end.is_some_and(|end| end + 1 < words.len());
    let names_some = || words[1..].iter().any(names_file);
    WRITERS.contains(&name) && (is_told_elsewhere || is_behind || names_some())
}

/// Builtins that set, or ask for, variables that their words name.
#[rustfmt::skip]
const SETTERS: &[&str] = &[
    "declare", "exec", "export", "getopts", "let", "local", "mapfile", "printf", "read",
    "readarray", "readonly", "test", "typeset", "unset", "wait", "[",
];

/// Variables that hold numbers: what one of them is set to is computed.
const NUMBERS: &[&str] = &["BASHPID", "HISTCMD", "OPTIND", "RANDOM", "SRANDOM"];

/// Setting this variable computes its value. To compute is to run: bash takes a name for what the
/// variable holds, again and again, and substitutes in a subscript that it finds on the way.
pub fn is_number(name: &str) -> bool {
    NUMBERS.contains(&name.trim_end_matches('+'))
}

/// A builtin that computes, as [`is_number`] tells it: `let A`, `declare -i x=A`, `test -v 'x[A]'`,
/// `read RANDOM`. A word that the shell makes may be any of it.
pub fn may_compute(words: &[Word]) -> bool {
    let value = |word: &Word| word.value().unwrap_or_default();
    let is_wrapper = |word: &Word| {
        let text = value(word);
        matches!(text.as_str(), "builtin" | "command") || text.starts_with('-')
    };
    let Some(start) = words.iter().position(|word| !is_wrapper(word)) else {
        return false;
    };
    let words = &words[start..];
    let name = value(&words[0]);
    let named = || words[1..].iter().any(may_name_computed);
    match name.as_str() {
        "let" => true,
        "test" | "[" => !is_plain_test(words) && (named() || words.iter().any(asks_for_variable)),
        "printf" => !has_plain_format(words) && named(),
        "declare" | "typeset" | "local" | "readonly" => {
            named() || words.iter().any(|word| is_flag(word, 'i'))
        }
        name => SETTERS.contains(&name) && named(),
    }
}

/// Whether a word names a variable that is computed, or the element of an array, or may.
fn may_name_computed(word: &Word) -> bool {
    let start = word.start();
    let name = start.split('=').next().unwrap_or_default();
    let is_whole = word.value().is_some() || start.contains('=');
    !is_whole || is_number(name) || start.contains('[')
}

/// Whether `test` asks by this word for a variable.
fn asks_for_variable(word: &Word) -> bool {
    matches!(word.value().as_deref(), Some("-v" | "-R"))
}

fn is_flag(word: &Word, letter: char) -> bool {
    word.start().starts_with(['-', '+']) && word.start().contains(letter)
}

/// The program may run what it is given: whoever forbids something forbids it here too.
pub fn may_run_others(words: &[Word]) -> bool {
    let Some(command) = words.first().and_then(Word::value) else {
        return true;
    };
    match known(&command) {
        ProgramKind::Runner => true,
        ProgramKind::Guarded(program) => {
            program.written_out(words).iter().any(|length| *length > 0)
        }
        ProgramKind::Harmless | ProgramKind::Nothing => false,
    }
}

/// The command gives what it runs more words than it was given itself, as `xargs` and `find` do:
/// nobody can say which.
pub fn appends_words(words: &[Word]) -> bool {
    let name = words.first().and_then(Word::value).unwrap_or_default();
    matches!(
        base_name(&name),
        "xargs" | "parallel" | "sem" | "find" | "gfind" | "fd" | "fdfind"
    )
}

/// The command behind wrappers that change nothing but time and priority: `timeout N`, `nice`,
/// `time`.
pub fn unwrapped(words: &[Word]) -> &[Word] {
    let value = |at: usize| words.get(at).and_then(Word::value);
    let is_number = |text: &str| {
        let digits = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or(text);
        !digits.is_empty()
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let starts = value(0).unwrap_or_default();
    let skipped = match (starts.as_str(), value(1).as_deref()) {
        ("timeout", Some(time)) if is_number(time) => 2,
        ("nice", Some("-n")) if value(2).is_some_and(|text| is_number(&text)) => 3,
        ("nice" | "time", Some(_)) => 1,
        _ => return words,
    };
    match words.get(skipped).and_then(Word::value) {
        Some(next) if !next.starts_with('-') => unwrapped(&words[skipped..]),
        _ => words,
    }
}
