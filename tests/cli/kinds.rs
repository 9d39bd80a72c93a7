//! `kun kinds`.

use insta::assert_snapshot;

use crate::project::Project;

#[test]
fn kinds_are_listed_and_described() {
    let project = Project::with(&[]);
    assert_snapshot!(project.run("kinds"), @"
    exit 0
    --- stdout
    kind           what it does
    concat         join files byte for byte
    split          split records into files of equal length
    sample         keep some records drawn at random, in order
    unique         keep the first of equal records
    count          count lines, bytes, characters and distinct lines
    stats          what records are like: lengths, sources, scripts, duplicates
    lengths        how long texts are in tokens, as a histogram
    years          which years texts name, as a histogram
    sources        shares of sources, or of the values of a field
    corpus         read files of texts into records of one shape
    instructions   read instruction data of any usual shape into one
    normalize      one width, one composition, plain spaces
    anonymize      replace personal data, or drop what holds it
    segment        cut documents into passages that stand for themselves
    dedup          keep the first of records whose texts are equal or nearly so
    decontaminate  drop records that share text with evaluation items
    rules          measure texts and drop those that break a rule
    measure        drop records by numbers that they hold
    cut            keep other records by the values of a ledger
    select         keep the best records, or drawn ones, evenly from all strata
    mix            mix records of several files, so many of each
    nested         stop where a file of records is not part of the next
    deny_overlap   stop where a record shares text with evaluation items
    export         write instruction data as others read it
    map            make one record out of each with a program, each once
    tokenizer      train a tokenizer in the layout of Yi's
    init           make a model with fresh weights for a tokenizer
    pretrain       train a model on texts, to write what follows
    sft            train a model on conversations, to write the answers
    generate       answer each record with a model, each once
    label          ask a model which instruction each passage answers
    refine         answer each instruction anew, with the passage known
    answer         answer prompts with a model, as the method's authors do
    judge          let a model choose one of several answers about each record
    classify       let a model give each record one or more of several labels
    categories     let a model sort records into categories, by votes of several answers
    score_text     loss and perplexity of each record under a model
    eval           a multiple-choice exam: C-Eval, CMMLU, or one in their shape
    export_eval    write an exam's results as lm-evaluation-harness does
    compare        shares of several models over the same items, and their differences
    study          what people are to be asked: records to rate, answers to compare
    judge_pairs    let a model compare answers two at a time, in both orders
    annotations    what people said in a study: ratings, agreement, rankings
    report         what the outputs of other steps have to say, as one HTML file
    ");
    assert_snapshot!(project.run("kinds concat"), @r#"
    exit 0
    --- stdout
    concat: one file out of many, byte for byte, in the order of parts.

        [steps.all]
        op   = "concat"
        in   = { parts = "${steps.clean[*].data}" }
        with = { separator_newline = true }

    Any files will do: text, JSON lines, members of a gzip or zstd stream. Nothing is parsed and
    nothing is held in memory, however long a line is.

    in
      parts  one or more  the files, in order

    with
      separator_newline  true or false  false  Put a line feed after a part that does not end with one, unless it is the last or empty.

    out
      data  file  all of them

    Version 1.
    "#);
    assert_snapshot!(project.run("kinds conct"), @"
    exit 2
    --- stderr
    error: no step kind `conct`

    help: the kinds are concat, split, sample, unique, count, stats, lengths, years, sources, corpus, instructions, normalize, anonymize, segment, dedup, decontaminate, rules, measure, cut, select, mix, nested, deny_overlap, export, map, tokenizer, init, pretrain, sft, generate, label, refine, answer, judge, classify, categories, score_text, eval, export_eval, compare, study, judge_pairs, annotations, report
    ");
}
