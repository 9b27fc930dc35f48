//! What the program says to command lines that it does not understand.

use crate::program::run;

#[test]
fn wrong_usage_is_exit_code_2() {
    for (words, message) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["pub", "-t", "a"], "required arguments"),
        (&["pub", "-t", "a", "-m", "x", "-n"], "cannot be used with"),
        (&["pub", "-m", "x"], "the topic is missing: -t"),
        (&["pub", "-t", "a/#", "-n"], "-t: "),
        (&["pub", "-t", "a", "-n", "-q", "3"], "0, 1 or 2 is meant"),
        (&["pub", "-t", "a", "-n", "-p", "x"], "a whole number from 1 to 65535 is meant"),
        (&["pub", "-t", "a", "-n", "-k", "65536"], "a whole number from 0 to 65535 is meant"),
        (&["sub", "-t", "a", "-C", "0"], "a whole number from 1 to 18446744073709551615 is meant"),
        (&["pub", "-t", "a", "-n", "-V", "4"], "invalid value '4'"),
        (&["pub", "-t", "a", "-n", "-P", "x"], "-P needs -u"),
        (&["pub", "-t", "a", "-n", "-c"], "needs a client id"),
        (&["pub", "-t", "a", "-n", "-V", "311", "-D", "PUBLISH", "content-type", "x"], "need -V 5"),
        (
            &["pub", "-t", "a", "-n", "-D", "PUBACK", "user-property", "a", "b"],
            "unknown command 'PUBACK'",
        ),
        (&["pub", "-t", "a", "-n", "-D", "PUBLISH", "frob", "x"], "PUBLISH has no property frob"),
        (&["pub", "-t", "a", "-n", "--will-payload", "x"], "--will-topic"),
        (&["pub", "-L", "http://a/b", "-n"], "-L 'http://a/b'"),
        (&["pub", "-t", "a", "-n", "--cert", "x"], "--key"),
        (&["pub", "-t", "a", "-n", "--insecure"], "need --cafile"),
        (&["sub"], "a topic filter is missing"),
        (&["sub", "-t", "a/#/b"], "-t 'a/#/b': "),
        (&["sub", "-t", "a", "-T", "#/b"], "-T '#/b': "),
        (&["sub", "-t", "a", "-F", "%y"], "-F: the format has an unknown sequence '%y'"),
        (&["sub", "-t", "a", "-F", "%"], "-F: the format ends within a sequence"),
        (&["sub", "-t", "a", "-F", "@"], "-F: the format ends within a sequence"),
        (&["sub", "-t", "a", "-F", "%99999t"], "-F: the format has a width above"),
        (&["sub", "-t", "a", "-C", "0"], "invalid value '0'"),
        (&["sub", "-t", "a", "--retain-as-published"], "needs -V 5"),
        (&["log", "dump", "--topic", "a/#/b"], "--topic: "),
    ] {
        let ended = run(words);
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{words:?}");
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    for words in [
        &["pub", "-t", "a", "-f", "no/such/file"][..],
        &["sub", "-t", "a", "--cafile", "no/such/file"],
        &["log", "verify", "--data", "no/such/file"],
    ] {
        run(words).expect_failure(1, "no/such/file");
    }
}

#[test]
fn help_is_a_word_and_h_is_a_host() {
    for command in ["pub", "sub"] {
        let ended = run(&[command, "--help"]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.stdout.contains("-h, --host <HOST>"), "{}", ended.stdout);
    }
    run(&["version"]).expect_success(concat!("tidelog ", env!("CARGO_PKG_VERSION"), "\n"));
}
