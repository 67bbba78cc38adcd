//! What a broker of Amazon MSK answers to AWS_MSK_IAM.
#![no_main]

kafka_producer_fuzz::target!(msk_iam_answer, 200, 64 << 10);
