//! Words that say nothing of what is looked for: those of any sentence and question.

/// As they are after folding. German, English, then a few of their neighbours.
const WORDS: &[&str] = &[
    "a about after again all also am an and any anybody anyone are as at be because been before being \
     between both but by can could d did do does doing don done each every for from had has have having \
     he her here hers him his how i if in into is it its just know ll m may me might more most must my \
     no nor not now of off on once only or other our ours out over own please re s same shall she should \
     since so some such t tell than that the their them then there these they this those through to too \
     under until up us ve very was we were what when where which while who whom whose why will with \
     would you your",
    "aber alle allen alles als also am an auch auf aus bei beim bin bis bist bitte da dabei damit dann \
     das dass davon dazu dein deine dem den denn der des dich die dies diese diesem diesen dieser dieses \
     dir doch dort du durch ein eine einem einen einer eines er es etwas euch fur gibt habe haben hast \
     hat hatte hatten ich ihm ihn ihnen ihr ihre ihrem ihren im immer ist ja jetzt kann kein keine keinen \
     konnen man mehr mein meine meinem meinen meiner mich mir mit muss mussen nach nein nicht noch nun \
     nur ob oder schon sein seine sich sie sind soll sollen sollte uber um und uns unser unsere unserem \
     unseren unter viel viele vom von vor wann waren warum was weil welche welchem welchen welcher \
     welches wem wen wenn wer werde werden wie wieder wieso wieviel wir wird wo woher wohin wurde wurden \
     zu zum zur zwischen",
    "au aux avec ce ces cette comment dans de des du elle en est et il je la le les mon ne nous ou par \
     pas pour pourquoi quand que quel quelle qui quoi sa ses sont sur tu un une vous y como con cual \
     cuando del donde el es esta la las lo los mi para por porque quien se si su sus una che chi con di \
     dove e gli il per quando sono com da em na nao onde qual quem uma het een en dat niet waar wanneer \
     wat zijn",
];

/// Pairs of neighbours in questions and endings of Chinese, Japanese and Korean.
const PAIRS: &str = "什么 时候 多少 为何 如何 为什 可以 请问 告诉 一下 一个 没有 有没 怎么 怎样 哪里 哪个 \
     什麼 時候 為什 請問 告訴 一個 沒有 怎麼 哪裡 哪個 です ます でし まし ませ せん した して ない なか かっ \
     った って てい いる いた ある あっ から まで など ので のは のか ですか すか ますか すか どこ いつ なに なぜ \
     どう どの だれ こと もの する され れた れる たい うか でし しょ ょう はい はど はな はだ 何で は何 니다 습니 \
     입니 니까 언제 어디 무엇 누가 누구 에서 으로 하는 하고 합니 까요 나요 인가 은가";

/// Characters that a pair may have by chance: particles, pronouns, what makes a question.
const LINKS: &str = "的了吗嗎呢吧啊是在和与與就也都很不没沒这這那哪谁誰什么麼怎几幾我你您他她它们們はがをにでともの";

/// Whether a word is frequent in a language.
pub(super) fn is_word(word: &str) -> bool {
    words().any(|known| known == word)
}

/// All frequent words.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().flat_map(|words| words.split(' '))
}

/// What a pair of neighbours counts in a run.
pub(super) fn pair_weight(first: char, second: char) -> f32 {
    let links = [first, second]
        .into_iter()
        .filter(|c| LINKS.contains(*c))
        .count();
    let is_known = PAIRS
        .split(' ')
        .any(|pair| pair.chars().eq([first, second]));
    let is_hiragana = |c: char| ('\u{3041}'..='\u{309f}').contains(&c);
    match links {
        2 => 0.05,
        _ if is_known => 0.05,
        1 => 0.3,
        _ if is_hiragana(first) && is_hiragana(second) => 0.4,
        _ if is_hiragana(first) || is_hiragana(second) => 0.6,
        _ => 1.0,
    }
}
